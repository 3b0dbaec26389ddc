import { liveUnits } from "../api/units";

/** More cells than this are drawn as one bar. */
const CELLS_MAX = 16;

/** The units of the account in the top line: a cell for each, and the number of waiting calls. */
export function Meter() {
  const { state, picture } = liveUnits.value;
  const gateway = picture?.gateway;
  const limit = gateway?.capacity ?? picture?.limit;
  if (!picture || limit === undefined) {
    const text = state === "lost" ? "Units unknown" : picture ? "No limit of units" : "";
    return text ? <span class="meter muted">{text}</span> : null;
  }
  const own = gateway?.inUse ?? 0;
  const settling = gateway?.settling ?? 0;
  const outside = gateway?.outside ?? 0;
  const used = Math.min(own + settling + outside, limit);
  const queued = gateway?.queued;
  const waiting = (queued?.interactive ?? 0) + (queued?.default ?? 0) + (queued?.batch ?? 0);
  return (
    <a class="meter" href="#/units" data-state={state} title="The units of the account">
      {limit <= CELLS_MAX ? (
        <span class="meter-cells" aria-hidden="true">
          {Array.from({ length: limit }, (_, index) => (
            <i data-use={use(index, own, settling, outside)} />
          ))}
        </span>
      ) : (
        <progress max={limit} value={used} aria-hidden="true" />
      )}
      <span class="meter-text">
        {used}/{limit} <span class="meter-word">units</span>
      </span>
      {waiting > 0 && <span class="meter-wait">{waiting} waiting</span>}
    </a>
  );
}

function use(index: number, own: number, settling: number, outside: number): string {
  if (index < own) return "own";
  if (index < own + settling) return "settling";
  return index < own + settling + outside ? "outside" : "free";
}
