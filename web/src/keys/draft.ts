// What the form of a key holds, and what it becomes in a request.

import {
  durationFromMs,
  timestampFromMs,
  type Duration,
  type Timestamp,
} from "@bufbuild/protobuf/wkt";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Key } from "../gen/featherwire/admin/v1/key_pb";
import { Priority } from "../gen/featherwire/v1/gateway_pb";
import {
  BudgetPeriod,
  BudgetUnit,
  KeyRole,
  type KeyLimits,
  type KeyLimitsSchema,
} from "../gen/featherwire/v1/key_limits_pb";

const DAY_MS = 86_400_000;

export interface BudgetDraft {
  amount: string;
  unit: BudgetUnit;
  period: BudgetPeriod;
}

export interface Draft {
  name: string;
  owner: string;
  role: KeyRole;
  /** `never`, `keep`, `date`, or a number of days. */
  expiry: string;
  /** The day in UTC, if `expiry` is `date`. */
  date: string;
  /** A line for each label, `name=value`. */
  labels: string;
  /** Patterns, separated by commas or lines. */
  models: string;
  weight: string;
  /** The accounts that the key may use. The form does not change them. */
  accounts: string[];
  maxUnits: string;
  priority: Priority;
  requestsPerMinute: string;
  tokensPerMinute: string;
  budgets: BudgetDraft[];
}

export function emptyDraft(role: KeyRole): Draft {
  return {
    name: "",
    owner: "",
    role,
    expiry: "never",
    date: "",
    labels: "",
    models: "",
    weight: "",
    accounts: [],
    maxUnits: "",
    priority: Priority.UNSPECIFIED,
    requestsPerMinute: "",
    tokensPerMinute: "",
    budgets: [],
  };
}

export function newBudget(): BudgetDraft {
  return { amount: "", unit: BudgetUnit.TOKENS, period: BudgetPeriod.DAY };
}

/** The form of a present key. */
export function draftOf(key: Key): Draft {
  const limits: Partial<KeyLimits> = key.limits ?? {};
  return {
    name: key.name,
    owner: key.owner,
    role: key.role,
    expiry: key.expiresAt ? "keep" : "never",
    date: "",
    labels: Object.entries(key.labels)
      .map(([name, value]) => `${name}=${value}`)
      .join("\n"),
    models: (limits.models ?? []).join("\n"),
    weight: text(limits.weight),
    accounts: limits.accounts ?? [],
    maxUnits: text(limits.maxUnits),
    priority: limits.highestPriority ?? Priority.UNSPECIFIED,
    requestsPerMinute: text(limits.requestsPerMinute),
    tokensPerMinute: text(limits.tokensPerMinute),
    budgets: (limits.budgets ?? []).map(({ amount, unit, period }) => {
      return { amount: String(amount), unit, period };
    }),
  };
}

function text(number: number | bigint | undefined): string {
  return number === undefined ? "" : String(number);
}

function small(text: string): number | undefined {
  return text.trim() === "" ? undefined : Number(text);
}

function large(text: string): bigint | undefined {
  return text.trim() === "" ? undefined : BigInt(text.trim());
}

export function limitsOf(draft: Draft): MessageInitShape<typeof KeyLimitsSchema> {
  return {
    models: draft.models
      .split(/[\n,]/)
      .map((model) => model.trim())
      .filter(Boolean),
    weight: small(draft.weight),
    accounts: draft.accounts,
    maxUnits: small(draft.maxUnits),
    highestPriority: draft.priority === Priority.UNSPECIFIED ? undefined : draft.priority,
    requestsPerMinute: small(draft.requestsPerMinute),
    tokensPerMinute: large(draft.tokensPerMinute),
    budgets: draft.budgets.map(({ amount, unit, period }) => {
      return { amount: large(amount) ?? 0n, unit, period };
    }),
  };
}

export function labelsOf(draft: Draft): Record<string, string> {
  const lines = draft.labels.split("\n").filter((line) => line.trim() !== "");
  return Object.fromEntries(
    lines.map((line) => {
      const [name = "", ...value] = line.split("=");
      return [name.trim(), value.join("=").trim()];
    }),
  );
}

/** The end of the key, as a length of time or as a moment. Both unset: never. */
export function expiryOf(draft: Draft): { expiresIn?: Duration; expiresAt?: Timestamp } {
  if (draft.expiry === "date") return { expiresAt: timestampFromMs(Date.parse(draft.date)) };
  const days = Number(draft.expiry);
  return Number.isNaN(days) ? {} : { expiresIn: durationFromMs(days * DAY_MS) };
}

/** The fields that a change of a key sets or clears. */
export function maskOf(draft: Draft): string[] {
  const fields = ["name", "owner", "labels"];
  if (draft.expiry !== "keep") fields.push("expires_at");
  if (draft.role === KeyRole.INFERENCE) fields.push("limits");
  return fields;
}
