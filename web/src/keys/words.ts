import { timestampMs, type Timestamp } from "@bufbuild/protobuf/wkt";
import type { Key } from "../gen/featherwire/admin/v1/key_pb";
import { Priority } from "../gen/featherwire/v1/gateway_pb";
import {
  BudgetPeriod,
  BudgetUnit,
  KeyRole,
  KeyState,
  type Budget,
  type KeyLimits,
} from "../gen/featherwire/v1/key_limits_pb";
import { compact, count } from "../ui/format";

export const ROLES: Record<KeyRole, string> = {
  [KeyRole.UNSPECIFIED]: "Calls models",
  [KeyRole.INFERENCE]: "Calls models",
  [KeyRole.ADMIN]: "Manages keys",
  [KeyRole.VIEWER]: "Reads only",
};

export const STATES: Record<KeyState, { words: string; tone?: string }> = {
  [KeyState.UNSPECIFIED]: { words: "Unknown" },
  [KeyState.ACTIVE]: { words: "Active", tone: "good" },
  [KeyState.DISABLED]: { words: "Disabled", tone: "warn" },
  [KeyState.EXPIRED]: { words: "Expired" },
  [KeyState.REVOKED]: { words: "Revoked", tone: "bad" },
};

export const UNITS: Record<BudgetUnit, string> = {
  [BudgetUnit.UNSPECIFIED]: "of an unknown kind",
  [BudgetUnit.TOKENS]: "tokens",
  [BudgetUnit.REQUESTS]: "calls",
  [BudgetUnit.UNIT_SECONDS]: "unit-seconds",
};

export const PERIODS: Record<BudgetPeriod, string> = {
  [BudgetPeriod.UNSPECIFIED]: "in an unknown time",
  [BudgetPeriod.DAY]: "a day",
  [BudgetPeriod.WEEK]: "a week",
  [BudgetPeriod.MONTH]: "a month",
  [BudgetPeriod.TOTAL]: "in total",
};

export const PRIORITIES: Record<Priority, string> = {
  [Priority.UNSPECIFIED]: "any",
  [Priority.INTERACTIVE]: "interactive",
  [Priority.DEFAULT]: "default",
  [Priority.BATCH]: "batch",
};

/** `100K tokens a day`. */
export function budgetWords({ amount, unit, period }: Pick<Budget, "amount" | "unit" | "period">) {
  return `${compact(amount)} ${UNITS[unit]} ${PERIODS[period]}`;
}

/** The limits as short phrases. Empty: without limits. */
export function limitWords(limits: KeyLimits | undefined): string[] {
  if (!limits) return [];
  const words = limits.budgets.map(budgetWords);
  if (limits.requestsPerMinute !== undefined) {
    words.push(`${compact(limits.requestsPerMinute)} calls/min`);
  }
  if (limits.tokensPerMinute !== undefined) {
    words.push(`${compact(limits.tokensPerMinute)} tokens/min`);
  }
  if (limits.maxUnits !== undefined) words.push(`at most ${count(limits.maxUnits)} units`);
  if (limits.weight !== undefined) words.push(`weight ${count(limits.weight)}`);
  if (limits.highestPriority) words.push(`priority ${PRIORITIES[limits.highestPriority]}`);
  if (limits.models.length === 1) words.push(`only ${limits.models[0]}`);
  if (limits.models.length > 1) words.push(`${limits.models.length} patterns of models`);
  if (limits.accounts.length > 0) words.push(`only on ${limits.accounts.join(", ")}`);
  return words;
}

/** Milliseconds since 1970. */
export function ms(time: Timestamp | undefined): number | undefined {
  return time && timestampMs(time);
}

/** Whether nothing can change a key any more. */
export function isOver({ state }: Key): boolean {
  return state === KeyState.REVOKED;
}
