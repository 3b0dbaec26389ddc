import { useEffect, useState } from "preact/hooks";
import { client } from "../api/client";
import { keyOf } from "../api/key";
import { liveUnits, retryUnits, type LiveUnits } from "../api/units";
import {
  AccountService,
  type Concurrency,
  type Plan,
} from "../gen/featherwire/v1/account_service_pb";
import { useNow } from "../ui/clock";
import { count, duration } from "../ui/format";
import { Icon } from "../ui/icons";
import { ProblemCard } from "../ui/problem-card";
import { Account } from "./account";
import { CircuitList } from "./circuits";
import { KeyTable } from "./key-table";
import { QueueCard } from "./queue";
import { RequestTable } from "./requests";
import { numberRequests } from "./slots";

/** A picture that is older than this is not live. Updates come about every two seconds. */
const LIVE_MS = 10_000;

/** The live picture of the account: its units, the queue for them, and failing models. */
export function UnitsView() {
  const now = useNow();
  const live = liveUnits.value;
  const plan = usePlan();
  const isLive = live.state === "live" && now - live.at < LIVE_MS;
  return (
    <section class="units-view page" aria-labelledby="units-title">
      <header class="page-head">
        <h1 id="units-title">Units</h1>
        <LiveChip live={live} isLive={isLive} />
        {plan && <p class="muted small plan-words">{planWords(plan)}</p>}
      </header>
      {!isLive && live.state !== "connecting" && <NotLive live={live} now={now} />}
      {live.picture ? (
        <Picture picture={live.picture} at={live.at} now={now} isLive={isLive} />
      ) : (
        live.state === "connecting" && <p class="muted">Asking the gateway for the units…</p>
      )}
    </section>
  );
}

interface PictureProps {
  picture: Concurrency;
  at: number;
  now: number;
  isLive: boolean;
}

function Picture({ picture, at, now, isLive }: PictureProps) {
  const numbers = numberRequests(picture.requests);
  // Lengths of time go on between two pictures, but not when the stream is lost.
  const passedMs = isLive ? Math.max(0, now - at) : 0;
  return (
    <div class="units-grid" data-stale={!isLive || undefined}>
      <Account picture={picture} numbers={numbers} now={isLive ? now : at} />
      <div class="units-column">
        <RequestTable picture={picture} numbers={numbers} passedMs={passedMs} />
        <KeyTable keys={picture.gateway?.keys ?? []} />
      </div>
      <div class="units-column">
        <QueueCard
          gateway={picture.gateway}
          accounts={picture.accounts}
          passedMs={passedMs}
        />
        <CircuitList circuits={picture.gateway?.circuits ?? []} passedMs={passedMs} />
      </div>
    </div>
  );
}

function LiveChip({ live, isLive }: { live: LiveUnits; isLive: boolean }) {
  if (live.state === "connecting" && !live.picture) return <span class="chip">Connecting</span>;
  if (live.state === "connecting")
    return (
      <span class="chip" data-tone="warn">
        Reconnecting
      </span>
    );
  return isLive ? (
    <span class="chip live-chip" data-tone="good">
      <i /> Live
    </span>
  ) : (
    <span class="chip" data-tone="bad">
      Not live
    </span>
  );
}

function NotLive({ live, now }: { live: LiveUnits; now: number }) {
  const age = live.picture && `The numbers below are ${duration(now - live.at)} old. `;
  const left = live.retryAt && Math.max(0, Math.ceil((live.retryAt - now) / 1_000));
  return (
    <div class="not-live">
      {live.problem && <ProblemCard problem={live.problem} />}
      <p class="not-live-line">
        <span>
          {age}
          {live.state === "live"
            ? "The gateway sends no news."
            : left === undefined
              ? "The page does not try again until the key changes."
              : `Next try in ${left} s.`}
        </span>
        <button type="button" class="button small" onClick={retryUnits}>
          <Icon name="retry" /> Try now
        </button>
      </p>
    </div>
  );
}

/** The plan of the account. Without it the view only says less. */
function usePlan(): Plan | undefined {
  const [plan, setPlan] = useState<Plan>();
  const key = keyOf("calls");
  const isLive = liveUnits.value.state === "live";
  useEffect(() => {
    // Not without the other calls: the reason why it fails is shown there.
    if (!isLive) return;
    const controller = new AbortController();
    client(AccountService)
      .getPlan({}, { signal: controller.signal })
      .then(setPlan, () => undefined);
    return () => controller.abort();
  }, [key, isLive]);
  return plan;
}

function planWords(plan: Plan): string {
  const parts = [plan.name || plan.id];
  if (plan.unlimitedConcurrency) parts.push("no limit of units");
  else if (plan.concurrency !== undefined) parts.push(`${count(plan.concurrency)} units`);
  if (plan.maxContextLength !== undefined) {
    parts.push(`context of up to ${count(plan.maxContextLength)} tokens`);
  }
  return parts.filter(Boolean).join(" · ");
}
