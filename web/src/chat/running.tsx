import { useEffect, useState } from "preact/hooks";
import { liveUnits } from "../api/units";
import { partsOf } from "./models";

/** More requests than this are only counted. */
const ROWS_MAX = 6;

/** The requests that hold units now, beside the conversation: one cell for each unit. */
export function Running() {
  const { picture, at } = liveUnits.value;
  const now = useSeconds();
  const requests = picture?.requests ?? [];
  const more = requests.length - ROWS_MAX;
  return (
    <section class="running" aria-labelledby="running-title">
      <h2 id="running-title">
        Running now <a href="#/units">All units</a>
      </h2>
      {requests.length === 0 && <p class="muted">Nothing holds units.</p>}
      <ul>
        {requests.slice(0, ROWS_MAX).map(({ id, model = "unknown", cost = 0, durationMs }) => (
          <li key={id}>
            <span class="running-cells" role="img" aria-label={`${cost} units`}>
              {Array.from({ length: cost }, () => (
                <i />
              ))}
            </span>
            <span class="running-model">{partsOf(model)[1]}</span>
            {durationMs !== undefined && (
              <span class="numbers muted">
                {Math.round((Number(durationMs) + Math.max(0, now - at)) / 1000)} s
              </span>
            )}
          </li>
        ))}
      </ul>
      {more > 0 && <p class="muted">and {more} more</p>}
    </section>
  );
}

/** The time, once a second. */
function useSeconds(): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, []);
  return now;
}
