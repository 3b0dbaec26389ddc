import type { BudgetStatus, RateStatus } from "../gen/featherwire/v1/caller_service_pb";
import { compact, count, relative } from "../ui/format";
import { budgetWords, ms } from "./words";

interface Props {
  budgets: BudgetStatus[];
  requestsPerMinute?: RateStatus;
  tokensPerMinute?: RateStatus;
}

/** What is left of the budgets and of the limits for a minute. */
export function BudgetList({ budgets, requestsPerMinute, tokensPerMinute }: Props) {
  const now = Date.now();
  const rates = [
    { words: "calls a minute", status: requestsPerMinute },
    { words: "tokens a minute", status: tokensPerMinute },
  ];
  return (
    <ul class="budgets">
      {budgets.map((budget) => {
        const renews = ms(budget.renewsAt);
        const notes = [`${compact(budget.left)} left`];
        if (budget.reserved > 0n)
          notes.push(`${compact(budget.reserved)} reserved by running calls`);
        if (renews !== undefined) notes.push(`renews ${relative(renews, now)}`);
        return (
          <Level
            key={`${budget.unit} ${budget.period}`}
            words={budgetWords(budget)}
            used={Number(budget.spent)}
            reserved={Number(budget.reserved)}
            limit={Number(budget.amount)}
            note={notes.join(" · ")}
          />
        );
      })}
      {rates.map(
        ({ words, status }) =>
          status && (
            <Level
              key={words}
              words={`${count(status.limit)} ${words}`}
              used={Number(status.limit - status.left)}
              reserved={0}
              limit={Number(status.limit)}
              note={`${compact(status.left)} left`}
            />
          ),
      )}
    </ul>
  );
}

interface LevelProps {
  words: string;
  used: number;
  reserved: number;
  limit: number;
  note: string;
}

function Level({ words, used, reserved, limit, note }: LevelProps) {
  const part = (amount: number) => `${Math.min(100, (amount / Math.max(limit, 1)) * 100)}%`;
  const tone = used >= limit ? "bad" : used >= limit * 0.8 ? "warn" : undefined;
  return (
    <li>
      <span class="budget-words">{words}</span>
      <span class="muted numbers">{note}</span>
      <span class="bar level" data-tone={tone} aria-hidden="true">
        <i style={{ width: part(used) }} />
        <i data-use="settling" style={{ width: part(reserved) }} />
      </span>
    </li>
  );
}
