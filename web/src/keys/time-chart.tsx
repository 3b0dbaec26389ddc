import type { UsageRow } from "../gen/featherwire/v1/key_usage_pb";
import { count, several, utcDay } from "../ui/format";
import { Fold } from "../ui/fold";
import { amountOf, amountWords, partsOf, roundUp, type Metric } from "./metrics";
import type { Span } from "./usage-data";
import { ms } from "./words";

/** The size of the drawing in its own units. The styles stretch it. */
const WIDTH = 720;
const HEIGHT = 160;

/** The part of a step that its bar fills, and how wide a bar is at most. */
const FILL = 0.72;
const BAR_MAX = 44;

interface Props {
  metric: Metric;
  rows: UsageRow[];
  span: Span;
}

/** A bar for each hour or day, and the same as a table. */
export function TimeChart({ metric, rows, span }: Props) {
  const byStart = new Map(rows.map((row) => [ms(row.startTime), row]));
  const steps = Math.round((span.end - span.start) / span.stepMs);
  const bars = Array.from({ length: steps }, (_, index) => {
    const at = span.start + index * span.stepMs;
    return { at, row: byStart.get(at) };
  });
  const most = Math.max(...bars.map(({ row }) => amountOf(metric, row)));
  const top = roundUp(most);
  const isHours = span.stepMs < 86_400_000;
  const label = (at: number) => (isHours ? hour(at) : utcDay(at));
  const peak = bars.find(({ row }) => amountOf(metric, row) === most);
  const kind = isHours ? "By hour" : "By day";
  const words =
    most === 0 || !peak
      ? "Nothing in this time"
      : `${kind}: the most is ${amountWords(metric, most)}, ${label(peak.at)}`;
  const barWidth = Math.min(BAR_MAX, FILL * (WIDTH / steps));
  const middle = bars[Math.floor(steps / 2)]?.at ?? span.start;
  return (
    <figure class="chart">
      <div class="chart-plot">
        <span class="chart-top muted numbers">{amountWords(metric, top)}</span>
        <svg
          viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
          preserveAspectRatio="none"
          role="img"
          aria-label={words}
        >
          <path class="history-grid" d={`M0 0.5H${WIDTH}M0 ${HEIGHT / 2}H${WIDTH}`} />
          {bars.map(({ at, row }, index) => (
            <Bar
              key={at}
              x={(index + 0.5) * (WIDTH / steps) - barWidth / 2}
              width={barWidth}
              title={`${label(at)}: ${describe(metric, row)}`}
              heights={partsOf(metric, row).map(({ tone, amount }) => ({
                tone,
                height: (amount / top) * HEIGHT,
              }))}
            />
          ))}
          <path class="history-grid strong" d={`M0 ${HEIGHT - 0.5}H${WIDTH}`} />
        </svg>
        <figcaption class="muted">
          <span>{label(span.start)}</span>
          <span>{label(middle)}</span>
          <span>{isHours ? "now" : "today"}</span>
        </figcaption>
      </div>
      <ChartLegend metric={metric} />
      <Fold title="As a table" note="times in UTC">
        <div class="table-scroll" tabIndex={0} role="group" aria-label="Sums by time">
          <table class="table">
            <thead>
              <tr>
                <th scope="col">{isHours ? "Hour" : "Day"}</th>
                <th scope="col" class="right">
                  Calls
                </th>
                <th scope="col" class="right">
                  Failed
                </th>
                <th scope="col" class="right">
                  Tokens
                </th>
                <th scope="col" class="right">
                  Unit time
                </th>
              </tr>
            </thead>
            <tbody>
              {bars
                .filter(({ row }) => row)
                .reverse()
                .map(({ at, row }) => (
                  <tr key={at}>
                    <th scope="row">{label(at)}</th>
                    <td class="right numbers">{count(row?.calls ?? 0n)}</td>
                    <td class="right numbers">{count(row?.failed ?? 0n)}</td>
                    <td class="right numbers">{count(amountOf("tokens", row))}</td>
                    <td class="right numbers">{amountWords("units", amountOf("units", row))}</td>
                  </tr>
                ))}
            </tbody>
          </table>
        </div>
      </Fold>
    </figure>
  );
}

interface BarProps {
  x: number;
  width: number;
  title: string;
  heights: { tone: string; height: number }[];
}

function Bar({ x, width, title, heights }: BarProps) {
  let bottom = HEIGHT;
  return (
    <g class="chart-bar">
      <title>{title}</title>
      <rect class="chart-hover" x={x} y={0} width={width} height={HEIGHT} />
      {heights
        .filter(({ height }) => height > 0)
        .map(({ tone, height }) => {
          bottom -= height;
          return (
            <rect key={tone} data-tone={tone} x={x} y={bottom} width={width} height={height} />
          );
        })}
    </g>
  );
}

function ChartLegend({ metric }: { metric: Metric }) {
  const parts = partsOf(metric, undefined);
  if (parts.length < 2) return null;
  return (
    <p class="chart-legend small muted">
      {parts.map(({ words, tone }) => (
        <span key={tone}>
          <i class="swatch" data-tone={tone} /> {words}
        </span>
      ))}
    </p>
  );
}

function describe(metric: Metric, row: UsageRow | undefined): string {
  if (metric === "units") return amountWords(metric, amountOf(metric, row));
  if (metric === "calls") {
    const failed = row?.failed ?? 0n;
    const calls = several(row?.calls ?? 0n, "call");
    return failed > 0n ? `${calls}, ${count(failed)} failed` : calls;
  }
  const [prompts, answers] = partsOf(metric, row).map(({ amount }) => count(amount));
  return `${prompts} tokens of prompts, ${answers} of answers`;
}

function hour(at: number): string {
  return `${new Date(at).toISOString().slice(11, 16)} UTC`;
}
