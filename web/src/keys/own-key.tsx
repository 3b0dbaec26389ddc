import { useEffect, useState } from "preact/hooks";
import { client } from "../api/client";
import { askForKey, keyOf } from "../api/key";
import { isCancelled, problemOf, type Problem } from "../api/problem";
import { CallerService, type GetOwnKeyResponse } from "../gen/featherwire/v1/caller_service_pb";
import { relative } from "../ui/format";
import { Icon } from "../ui/icons";
import { ProblemCard } from "../ui/problem-card";
import { BudgetList } from "./budgets";
import { limitWords, ms, ROLES, STATES } from "./words";

/** The caller's own key: its limits, and what is left of them. */
export function OwnKey() {
  const { key, problem, reload } = useOwnKey();
  if (problem) {
    return (
      <ProblemCard problem={problem} onRetry={reload}>
        <button type="button" class="button small" onClick={() => askForKey("calls", "")}>
          <Icon name="key" /> Enter your key
        </button>
      </ProblemCard>
    );
  }
  if (!key) return <p class="muted">Asking for your key…</p>;
  const limits = limitWords(key.limits);
  const models = key.limits?.models ?? [];
  const hasLevels = key.budgets.length > 0 || key.requestsPerMinute || key.tokensPerMinute;
  const ends = ms(key.expiresAt);
  return (
    <section class="card panel" aria-labelledby="own-key-title">
      <h2 id="own-key-title">
        {key.id ? key.name : `Callers are known as “${key.name}”`}
        <span class="chip" data-tone={STATES[key.state].tone}>
          {STATES[key.state].words}
        </span>
        <button type="button" class="button quiet small toolbar-end" onClick={reload}>
          <Icon name="retry" /> Refresh
        </button>
      </h2>
      <dl class="details">
        <div>
          <dt>For</dt>
          <dd>{ROLES[key.role]}</dd>
        </div>
        <div>
          <dt>Ends</dt>
          <dd>{ends === undefined ? "never" : relative(ends, Date.now())}</dd>
        </div>
        <div>
          <dt>Limits</dt>
          <dd>{limits.length === 0 ? "none" : limits.join(", ")}</dd>
        </div>
        {models.length > 1 && (
          <div>
            <dt>Models</dt>
            <dd>
              {models.map((model) => (
                <code key={model}>{model}</code>
              ))}
            </dd>
          </div>
        )}
      </dl>
      {hasLevels ? (
        <BudgetList {...key} />
      ) : (
        <p class="empty">
          No budget and no limit for a minute. You share the units with other callers.
        </p>
      )}
    </section>
  );
}

function useOwnKey() {
  const [key, setKey] = useState<GetOwnKeyResponse>();
  const [problem, setProblem] = useState<Problem>();
  const [round, setRound] = useState(0);
  const secret = keyOf("calls");
  useEffect(() => {
    const controller = new AbortController();
    client(CallerService)
      .getOwnKey({}, { signal: controller.signal })
      .then(
        (key) => {
          setProblem(undefined);
          setKey(key);
        },
        (error) => {
          if (!isCancelled(error)) setProblem(problemOf(error));
        },
      );
    return () => controller.abort();
  }, [secret, round]);
  return { key, problem, reload: () => setRound((round) => round + 1) };
}
