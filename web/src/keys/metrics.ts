import type { UsageRow } from "../gen/featherwire/v1/key_usage_pb";
import { compact, duration } from "../ui/format";

export const METRICS = [
  { value: "calls", words: "Calls" },
  { value: "tokens", words: "Tokens" },
  { value: "units", words: "Unit time" },
] as const;
export type Metric = (typeof METRICS)[number]["value"];

/** A part of a bar, from below. */
export interface Part {
  words: string;
  tone: "first" | "second" | "bad";
  amount: number;
}

export function partsOf(metric: Metric, row: UsageRow | undefined): Part[] {
  const { calls = 0n, failed = 0n, promptTokens = 0n, completionTokens = 0n } = row ?? {};
  switch (metric) {
    case "calls":
      return [
        { words: "Without an error", tone: "first", amount: Number(calls - failed) },
        { words: "Failed", tone: "bad", amount: Number(failed) },
      ];
    case "tokens":
      return [
        { words: "Prompts", tone: "first", amount: Number(promptTokens) },
        { words: "Answers", tone: "second", amount: Number(completionTokens) },
      ];
    case "units":
      return [{ words: "Unit time", tone: "first", amount: row?.unitSeconds ?? 0 }];
  }
}

export function amountOf(metric: Metric, row: UsageRow | undefined): number {
  return partsOf(metric, row).reduce((sum, { amount }) => sum + amount, 0);
}

export function amountWords(metric: Metric, amount: number): string {
  return metric === "units" ? duration(amount * 1_000) : compact(amount);
}

/** The smallest round number that is not below `most`: 1, 2 or 5 with zeros. */
export function roundUp(most: number): number {
  if (most <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  const factor = [1, 2, 5, 10].find((factor) => factor * power >= most) ?? 10;
  return factor * power;
}
