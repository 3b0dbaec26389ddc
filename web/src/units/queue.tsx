import type { AccountUnits, GatewayUnits } from "../gen/featherwire/v1/account_service_pb";
import { count, duration, several } from "../ui/format";
import { AccountLines } from "./accounts";
import { ClusterLine } from "./cluster";
import { waitingOf } from "./history";

const CLASSES = [
  { name: "interactive", words: "Interactive" },
  { name: "default", words: "Default" },
  { name: "batch", words: "Batch" },
] as const;

interface Props {
  gateway: GatewayUnits | undefined;
  accounts: AccountUnits[];
  passedMs: number;
}

/** The requests that wait for units, by class, and how long they wait. */
export function QueueCard({ gateway, accounts, passedMs }: Props) {
  const queued = gateway?.queued;
  const waiting = waitingOf(queued);
  const oldest = gateway?.oldestWaitMs;
  return (
    <section class="card panel" aria-labelledby="queue-title">
      <h2 id="queue-title">
        Queue{" "}
        <span class="muted">{waiting === 0 ? "nothing waits" : `${count(waiting)} waiting`}</span>
      </h2>
      <dl class="classes">
        {CLASSES.map(({ name, words }) => {
          const number = queued?.[name] ?? 0;
          return (
            <div key={name}>
              <dt>{words}</dt>
              <dd class="numbers">
                <span class="bar" aria-hidden="true">
                  <i style={{ width: `${waiting === 0 ? 0 : (number / waiting) * 100}%` }} />
                </span>
                {count(number)}
              </dd>
            </div>
          );
        })}
      </dl>
      <dl class="facts">
        <Fact
          words="Oldest wait"
          value={oldest === undefined ? undefined : duration(Number(oldest) + passedMs)}
        />
        <Fact words="Median wait" value={wait(gateway?.waitP50Ms)} />
        <Fact words="99 % wait less than" value={wait(gateway?.waitP99Ms)} />
        <Fact words="Refusals by Featherless" value={count(gateway?.refusals ?? 0n)} />
      </dl>
      {gateway?.cluster && <ClusterLine cluster={gateway.cluster} />}
      <AccountLines accounts={accounts} />
      {(gateway?.oddMessages ?? 0n) > 0n && (
        <p class="muted small">
          {several(gateway?.oddMessages ?? 0n, "message")} about units could not be read and had no
          effect.
        </p>
      )}
    </section>
  );
}

function Fact({ words, value }: { words: string; value: string | undefined }) {
  return (
    <div>
      <dt>{words}</dt>
      <dd class="numbers">{value ?? "–"}</dd>
    </div>
  );
}

function wait(ms: bigint | undefined): string | undefined {
  return ms === undefined ? undefined : duration(Number(ms));
}
