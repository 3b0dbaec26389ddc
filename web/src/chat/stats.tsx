import { useEffect, useState } from "preact/hooks";
import { known } from "./models";
import { isOpen } from "./state";
import type { Answer, QueuePlace } from "./types";

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
      {answer.state === "waiting" && <Waiting place={answer.queue} now={now} />}
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

/** How the call itself waits, as the gateway tells it. The time goes on between two messages. */
function Waiting({ place, now }: { place?: QueuePlace; now: number }) {
  const seconds = place && (place.waitedMs + Math.max(0, now - place.at)) / 1000;
  return (
    <div class="stats-wait">
      <dt class="unseen">State</dt>
      <dd>
        {place?.ahead === undefined
          ? "Waiting for the model"
          : `${ordinal(place.ahead + 1)} in the queue for ` +
            `${place.units} ${place.units === 1 ? "unit" : "units"}, ${Math.floor(seconds ?? 0)} s`}
      </dd>
    </div>
  );
}

const ENDINGS = { zero: "th", one: "st", two: "nd", few: "rd", many: "th", other: "th" } as const;
const rules = new Intl.PluralRules("en", { type: "ordinal" });

/** Such as `3rd`. */
function ordinal(place: number): string {
  return `${place.toLocaleString("en")}${ENDINGS[rules.select(place)]}`;
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
