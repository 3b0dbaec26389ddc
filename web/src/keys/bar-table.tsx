import { useState } from "preact/hooks";
import type { UsageRow } from "../gen/featherwire/v1/key_usage_pb";
import { duration } from "../ui/format";
import { amountOf, amountWords, METRICS, partsOf, type Metric } from "./metrics";

/** The rows that are shown at first. */
const ROWS_MAX = 8;

interface Props {
  title: string;
  /** What a row is: `Model` or `Key`. */
  head: string;
  metric: Metric;
  rows: UsageRow[];
  nameOf: (row: UsageRow) => string;
  /** Shows only this row's calls. */
  onChoose?: (row: UsageRow) => void;
}

/** Sums by key or model: a bar and its number in each row, the largest first. */
export function BarTable({ title, head, metric, rows, nameOf, onChoose }: Props) {
  const [isLong, setLong] = useState(false);
  const sorted = rows.toSorted((a, b) => amountOf(metric, b) - amountOf(metric, a));
  const most = amountOf(metric, sorted[0]);
  const shown = isLong ? sorted : sorted.slice(0, ROWS_MAX);
  const words = METRICS.find(({ value }) => value === metric)?.words;
  return (
    <section class="card panel" aria-label={title}>
      <h2>{title}</h2>
      <table class="table bar-table">
        <thead>
          <tr>
            <th scope="col">{head}</th>
            <th scope="col" class="right">
              {words}
            </th>
            <th scope="col" class="right wide-only">
              Takes (p50, p95)
            </th>
          </tr>
        </thead>
        <tbody>
          {shown.map((row) => (
            <tr key={`${row.keyId} ${row.model}`}>
              <th scope="row">
                {onChoose && (row.keyId || row.model) ? (
                  <button type="button" class="key-name model-id" onClick={() => onChoose(row)}>
                    {nameOf(row)}
                  </button>
                ) : (
                  <span class="model-id">{nameOf(row)}</span>
                )}
                <span class="bar stacked" aria-hidden="true">
                  {partsOf(metric, row).map(({ tone, amount }) => (
                    <i
                      key={tone}
                      data-tone={tone}
                      style={{ width: `${(amount / (most || 1)) * 100}%` }}
                    />
                  ))}
                </span>
              </th>
              <td class="right numbers">{amountWords(metric, amountOf(metric, row))}</td>
              <td class="right numbers wide-only muted">
                {row.durationP50Ms === undefined
                  ? "–"
                  : [row.durationP50Ms, row.durationP95Ms ?? 0n]
                      .map((ms) => duration(Number(ms)))
                      .join(", ")}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {sorted.length > ROWS_MAX && (
        <button type="button" class="button small more-keys" onClick={() => setLong(!isLong)}>
          {isLong ? "Show fewer" : `Show all ${sorted.length}`}
        </button>
      )}
    </section>
  );
}
