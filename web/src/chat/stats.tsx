import { useEffect, useState } from "preact/hooks";
import { liveUnits } from "../api/units";
import { known } from "./models";
import { isOpen } from "./state";
import type { Answer } from "./types";

/** The numbers of an answer, live while it arrives. */
export function Stats({ answer }: { answer: Answer }) {
  const isLive = isOpen(answer);
  const now = useClock(isLive);
  const end = answer.endedAt ?? now;
  const { firstAt, sentAt, report, tokens } = answer;
  const completion = tokens?.completion;
  const count = completion ?? answer.pieces;
  const seconds = firstAt === undefined ? 0 : (end - firstAt) / 1000;
  const units = report?.units ?? known.value.get(answer.model)?.concurrencyCost;
  return (
    <dl class="stats numbers" data-live={isLive}>
      {answer.state === "waiting" && <Waiting now={now} />}
      {firstAt !== undefined && (
        <Stat
          name="Tokens"
          value={`${completion === undefined ? "≈ " : ""}${count.toLocaleString("en")}`}
          unit="tokens"
        />
      )}
      {seconds > 0.05 && count > 1 && (
        <Stat name="Speed" value={short((count - 1) / seconds)} unit="tokens/s" />
      )}
      {firstAt !== undefined && (
        <Stat name="First token after" value={short((firstAt - sentAt) / 1000)} unit="s to first" />
      )}
      {(isLive || answer.endedAt !== undefined) && (
        <Stat name="Elapsed" value={short((end - sentAt) / 1000)} unit="s" />
      )}
      {units !== undefined && (isLive || report) && (
        <Stat
          name="Units held"
          value={String(units)}
          unit={`${units === 1 ? "unit" : "units"}${answer.state === "streaming" ? " held" : ""}`}
        />
      )}
      {report && report.waitedMs > 0 && (
        <Stat name="Waited for units" value={short(report.waitedMs / 1000)} unit="s in the queue" />
      )}
      {tokens?.prompt !== undefined && (
        <Stat name="Prompt" value={tokens.prompt.toLocaleString("en")} unit="in the prompt" />
      )}
      {report && report.attempts > 1 && (
        <Stat name="Attempts" value={String(report.attempts)} unit="attempts" />
      )}
    </dl>
  );
}

function Stat({ name, value, unit }: { name: string; value: string; unit: string }) {
  return (
    <div>
      <dt class="unseen">{name}</dt>
      <dd>
        <b>{value}</b> {unit}
      </dd>
    </div>
  );
}

/**
 * What is known about the wait. gRPC-Web tells nothing before the first piece, but the live units
 * tell how many calls wait: a call of this page is one of the interactive ones.
 */
function Waiting({ now }: { now: number }) {
  const gateway = liveUnits.value.picture?.gateway;
  const { interactive = 0, default: usual = 0, batch = 0 } = gateway?.queued ?? {};
  const others = usual + batch;
  const oldestMs = gateway?.oldestWaitMs;
  const age = now - liveUnits.value.at;
  const isFresh = age < 6_000 && interactive + others > 0;
  return (
    <div class="stats-wait">
      <dt class="unseen">State</dt>
      <dd>
        {isFresh
          ? `In the queue: ${interactive} interactive${others > 0 ? ` and ${others} other` : ""} ` +
            `${interactive + others === 1 ? "call waits" : "calls wait"}` +
            (oldestMs === undefined ? "" : `, the longest for ${short(Number(oldestMs) / 1000)} s`)
          : "Waiting for the model"}
      </dd>
    </div>
  );
}

function short(value: number): string {
  if (value >= 100) return Math.round(value).toLocaleString("en");
  return value.toFixed(value >= 10 ? 1 : 2);
}

/** The time, ten times a second while it is needed. */
function useClock(isRunning: boolean): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (!isRunning) return;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), 100);
    return () => clearInterval(timer);
  }, [isRunning]);
  return now;
}
