import { useState } from "preact/hooks";
import { isCancelled, problemOf, type Problem } from "../api/problem";
import { UsageGroup, type UsageRow } from "../gen/featherwire/v1/key_usage_pb";
import { compact, count, duration } from "../ui/format";
import { Icon } from "../ui/icons";
import { ProblemCard } from "../ui/problem-card";
import { Segments } from "../ui/segments";
import { BarTable } from "./bar-table";
import { csvOf, download } from "./csv";
import { METRICS, type Metric } from "./metrics";
import { TimeChart } from "./time-chart";
import {
  PERIODS,
  querySums,
  spanOf,
  useUsage,
  type Filter,
  type Period,
  type Scope,
} from "./usage-data";

export interface ChosenKey {
  id: string;
  name: string;
}

interface Props {
  scope: Scope;
  /** Only calls of this key. */
  chosen?: ChosenKey;
  onChoose?: (key: ChosenKey | undefined) => void;
}

/** What calls have used: sums, charts and a file. */
export function UsageView({ scope, chosen, onChoose }: Props) {
  const [period, setPeriod] = useState<Period>("7");
  const [metric, setMetric] = useState<Metric>("calls");
  const [model, setModel] = useState<string>();
  const filter: Filter = { period, key: chosen?.id, model };
  const { usage, problem, reload } = useUsage(scope, filter);
  return (
    <>
      <div class="toolbar">
        <Segments label="Time" options={PERIODS} value={period} onChange={setPeriod} />
        <Segments label="What is shown" options={METRICS} value={metric} onChange={setMetric} />
        <span class="toolbar-end">
          <button type="button" class="button quiet" onClick={reload}>
            <Icon name="retry" /> Refresh
          </button>
          <Download scope={scope} filter={filter} />
        </span>
      </div>
      {(chosen || model) && (
        <p class="filters">
          <span class="muted small">Only</span>
          {chosen && <Remove words={chosen.name} onRemove={() => onChoose?.(undefined)} />}
          {model && <Remove words={model} onRemove={() => setModel(undefined)} />}
        </p>
      )}
      {problem && <ProblemCard problem={problem} onRetry={reload} />}
      {usage && (
        <>
          <Totals total={usage.total} />
          {usage.byTime.length === 0 ? (
            <section class="card panel empty-state">
              <Icon name="columns" />
              <h2>No calls in this time</h2>
              <p class="empty">
                Choose a longer time, or <a href="#/chat">start a chat</a>. A call appears here a
                moment after its end.
              </p>
            </section>
          ) : (
            <>
              <section class="card panel" aria-label="By time">
                <h2>{period === "1" ? "By hour" : "By day"}</h2>
                <TimeChart metric={metric} rows={usage.byTime} span={usage.span} />
              </section>
              <div class="usage-grid" data-single={scope === "own" || undefined}>
                <BarTable
                  title="By model"
                  head="Model"
                  metric={metric}
                  rows={usage.byModel}
                  nameOf={(row) => row.model || "no known model"}
                  onChoose={scope === "all" ? (row) => setModel(row.model) : undefined}
                />
                {scope === "all" && (
                  <BarTable
                    title="By key"
                    head="Key"
                    metric={metric}
                    rows={usage.byKey}
                    nameOf={(row) => row.key || "no key"}
                    onChoose={(row) => onChoose?.({ id: row.keyId, name: row.key })}
                  />
                )}
              </div>
            </>
          )}
        </>
      )}
      {!usage && !problem && <p class="muted">Adding up…</p>}
    </>
  );
}

function Remove({ words, onRemove }: { words: string; onRemove: () => void }) {
  return (
    <button type="button" class="button small" aria-label={`Not only ${words}`} onClick={onRemove}>
      {words} <Icon name="close" />
    </button>
  );
}

function Totals({ total }: { total: UsageRow | undefined }) {
  const { calls = 0n, failed = 0n, cancelled = 0n } = total ?? {};
  const waited = Number(total?.waitedMs ?? 0n) / Math.max(1, Number(calls));
  const facts = [
    {
      words: "Calls",
      value: compact(calls),
      note: `${count(failed)} failed, ${count(cancelled)} left`,
    },
    { words: "Tokens of prompts", value: compact(total?.promptTokens ?? 0n) },
    { words: "Tokens of answers", value: compact(total?.completionTokens ?? 0n) },
    { words: "Unit time", value: duration((total?.unitSeconds ?? 0) * 1_000) },
    {
      words: "Median duration",
      value: optional(total?.durationP50Ms),
      note: `95 %: ${optional(total?.durationP95Ms)}`,
    },
    {
      words: "Median first token",
      value: optional(total?.firstTokenP50Ms),
      note: `waited ${duration(waited)} on average`,
    },
  ];
  return (
    <dl class="totals">
      {facts.map(({ words, value, note }) => (
        <div class="card" key={words}>
          <dt>{words}</dt>
          <dd class="numbers">
            <strong>{value}</strong>
            {note && <span class="muted small">{note}</span>}
          </dd>
        </div>
      ))}
    </dl>
  );
}

function optional(ms: bigint | undefined): string {
  return ms === undefined ? "–" : duration(Number(ms));
}

/** Downloads the sums by day, key and model. The page itself makes the file. */
function Download({ scope, filter }: { scope: Scope; filter: Filter }) {
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState<Problem>();
  async function save() {
    setBusy(true);
    setProblem(undefined);
    try {
      const time = filter.period === "1" ? UsageGroup.HOUR : UsageGroup.DAY;
      const groups = [time, UsageGroup.MODEL];
      if (scope === "all") groups.push(UsageGroup.KEY);
      const { rows } = await querySums(scope, filter, groups);
      const { start } = spanOf(filter.period, Date.now());
      const days = [start, Date.now()].map((at) => new Date(at).toISOString().slice(0, 10));
      download(csvOf(rows), `featherwire-usage-${days.join("-to-")}.csv`);
    } catch (error) {
      const slot = scope === "own" ? "calls" : "administration";
      if (!isCancelled(error)) setProblem(problemOf(error, slot));
    } finally {
      setBusy(false);
    }
  }
  return (
    <>
      <button type="button" class="button" disabled={isBusy} onClick={() => void save()}>
        <Icon name="download" /> CSV
      </button>
      {problem && <ProblemCard problem={problem} onRetry={() => void save()} />}
    </>
  );
}
