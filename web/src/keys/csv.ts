import type { UsageRow } from "../gen/featherwire/v1/key_usage_pb";
import { ms } from "./words";

/** The columns, in the names of `featherwire usage --format csv`. */
const COLUMNS: [string, (row: UsageRow) => string | number | bigint | undefined][] = [
  ["start", (row) => iso(ms(row.startTime))],
  ["key", (row) => row.key],
  ["key_id", (row) => row.keyId],
  ["model", (row) => row.model],
  ["calls", (row) => row.calls],
  ["failed", (row) => row.failed],
  ["cancelled", (row) => row.cancelled],
  ["counted", (row) => row.counted],
  ["prompt_tokens", (row) => row.promptTokens],
  ["completion_tokens", (row) => row.completionTokens],
  ["reasoning_tokens", (row) => row.reasoningTokens],
  ["cached_tokens", (row) => row.cachedTokens],
  ["unit_seconds", (row) => row.unitSeconds.toFixed(3)],
  ["waited_ms", (row) => row.waitedMs],
  ["duration_p50_ms", (row) => row.durationP50Ms],
  ["duration_p95_ms", (row) => row.durationP95Ms],
  ["duration_p99_ms", (row) => row.durationP99Ms],
  ["first_token_p50_ms", (row) => row.firstTokenP50Ms],
];

/** The rows as a table for spreadsheets. */
export function csvOf(rows: readonly UsageRow[]): string {
  const head = COLUMNS.map(([name]) => name).join(",");
  const lines = rows.map((row) => COLUMNS.map(([, get]) => cell(get(row))).join(","));
  return [head, ...lines, ""].join("\r\n");
}

function cell(value: string | number | bigint | undefined): string {
  if (value === undefined) return "";
  if (typeof value !== "string") return String(value);
  // A spreadsheet would run a name with such a beginning as a formula.
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function iso(at: number | undefined): string {
  return at === undefined ? "" : new Date(at).toISOString();
}

/** Saves a text as a file of the reader. */
export function download(text: string, name: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
