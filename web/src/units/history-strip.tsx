import { HISTORY_MS, history, type Sample } from "./history";

/** The size of the drawing in its own units. The styles stretch it. */
const WIDTH = 600;
const HEIGHT = 64;

/** A sample without a following one is drawn for this long. */
const STEP_MS = 2_000;

/** A longer gap between two samples stays empty: the stream was lost then. */
const GAP_MS = 5_000;

const LAYERS = ["own", "outside", "settling"] as const;

/** The units in use and the waiting requests of the last two minutes. */
export function HistoryStrip({ now }: { now: number }) {
  const samples = history.value.filter(({ at }) => at > now - HISTORY_MS);
  const top = Math.max(1, ...samples.map((sample) => sample.capacity ?? used(sample)));
  const waitingMax = Math.max(...samples.map(({ waiting }) => waiting), 0);
  const usedMax = Math.max(...samples.map(used), 0);
  const words = `Two minutes: at most ${usedMax} units in use and ${waitingMax} calls waiting`;
  return (
    <figure class="history">
      <svg
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={words}
      >
        <path class="history-grid" d={`M0 ${HEIGHT / 2}H${WIDTH}M0 0.5H${WIDTH}`} />
        {LAYERS.map((layer) => (
          <path class="history-area" data-use={layer} d={area(samples, layer, top, now)} />
        ))}
        <path class="history-waiting halo" d={waitingLine(samples, waitingMax, now)} />
        <path class="history-waiting" d={waitingLine(samples, waitingMax, now)} />
      </svg>
      <figcaption>
        <span>2 min ago</span>
        <span>
          {waitingMax > 0 && (
            <>
              <i class="line-swatch" /> waiting, at most {waitingMax}
            </>
          )}
        </span>
        <span>now</span>
      </figcaption>
    </figure>
  );
}

function used({ own, settling, outside }: Sample): number {
  return own + settling + outside;
}

/** From where to where a sample is drawn. */
function span(samples: readonly Sample[], index: number, now: number): [number, number] {
  const at = samples[index]?.at ?? now;
  const next = samples[index + 1]?.at ?? Math.min(now, at + STEP_MS);
  const end = next - at > GAP_MS ? at + STEP_MS : next;
  const x = (time: number) => WIDTH - ((now - time) / HISTORY_MS) * WIDTH;
  return [Math.max(0, x(at)), Math.max(0, x(end))];
}

function area(
  samples: readonly Sample[],
  layer: (typeof LAYERS)[number],
  top: number,
  now: number,
): string {
  const below = LAYERS.slice(0, LAYERS.indexOf(layer));
  return samples
    .map((sample, index) => {
      const [left, right] = span(samples, index, now);
      const base = below.reduce((sum, name) => sum + sample[name], 0);
      const bottom = HEIGHT - (base / top) * HEIGHT;
      const height = (sample[layer] / top) * HEIGHT;
      if (height === 0 || right <= left) return "";
      const [x, y] = [fixed(left), fixed(bottom)];
      return `M${x} ${y}V${fixed(bottom - height)}H${fixed(right)}V${y}Z`;
    })
    .join("");
}

function waitingLine(samples: readonly Sample[], most: number, now: number): string {
  if (most === 0) return "";
  return samples
    .map(({ waiting }, index) => {
      const [left, right] = span(samples, index, now);
      const y = HEIGHT - 2 - (waiting / most) * (HEIGHT - 6);
      return `${index === 0 ? "M" : "L"}${fixed(left)} ${fixed(y)}H${fixed(right)}`;
    })
    .join("");
}

function fixed(value: number): string {
  return value.toFixed(1);
}
