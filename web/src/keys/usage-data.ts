import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { useEffect, useState } from "preact/hooks";
import { client } from "../api/client";
import { keyOf } from "../api/key";
import { isCancelled, problemOf, type Problem } from "../api/problem";
import { UsageService } from "../gen/featherwire/admin/v1/usage_service_pb";
import { CallerService } from "../gen/featherwire/v1/caller_service_pb";
import { UsageGroup, type UsageRow } from "../gen/featherwire/v1/key_usage_pb";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

export const PERIODS = [
  { value: "1", words: "24 hours" },
  { value: "7", words: "7 days" },
  { value: "30", words: "30 days" },
  { value: "90", words: "90 days" },
] as const;
export type Period = (typeof PERIODS)[number]["value"];

/** Whose calls are added up: those of all keys, or those of the caller's key. */
export type Scope = "all" | "own";

export interface Filter {
  period: Period;
  /** The id of the only key. */
  key?: string;
  model?: string;
}

/** Some whole hours or days, the last of which is the present one. */
export interface Span {
  start: number;
  end: number;
  stepMs: number;
}

export function spanOf(period: Period, now: number): Span {
  const stepMs = period === "1" ? HOUR_MS : DAY_MS;
  const steps = period === "1" ? 24 : Number(period);
  const end = (Math.floor(now / stepMs) + 1) * stepMs;
  return { start: end - steps * stepMs, end, stepMs };
}

interface Answer {
  rows: UsageRow[];
  total?: UsageRow;
}

/** Asks for sums, as an administrator or for the caller's own key. */
export async function querySums(
  scope: Scope,
  filter: Filter,
  by: UsageGroup[],
  signal?: AbortSignal,
): Promise<Answer> {
  const startTime = timestampFromMs(spanOf(filter.period, Date.now()).start);
  if (scope === "own") {
    return client(CallerService).getOwnUsage({ by, startTime }, { signal });
  }
  const { key = "", model = "" } = filter;
  const usage = client(UsageService, "administration");
  return usage.queryUsage({ by, startTime, key, model }, { signal });
}

export interface Usage {
  span: Span;
  byTime: UsageRow[];
  byKey: UsageRow[];
  byModel: UsageRow[];
  total?: UsageRow;
}

/** The sums of the chosen time. The ones before stay until others have come. */
export function useUsage(scope: Scope, { period, key, model }: Filter) {
  const [usage, setUsage] = useState<Usage>();
  const [problem, setProblem] = useState<Problem>();
  const [round, setRound] = useState(0);
  const slot = scope === "own" ? "calls" : "administration";
  const secret = keyOf(slot);
  useEffect(() => {
    const controller = new AbortController();
    const ask = (by: UsageGroup) =>
      querySums(scope, { period, key, model }, [by], controller.signal);
    const isShort = period === "1";
    Promise.all([
      ask(isShort ? UsageGroup.HOUR : UsageGroup.DAY),
      ask(UsageGroup.MODEL),
      scope === "own" ? { rows: [] } : ask(UsageGroup.KEY),
    ]).then(
      ([byTime, byModel, byKey]) => {
        setProblem(undefined);
        setUsage({
          span: spanOf(period, Date.now()),
          byTime: byTime.rows,
          byModel: byModel.rows,
          byKey: byKey.rows,
          total: byTime.total,
        });
      },
      (error) => {
        if (!isCancelled(error)) setProblem(problemOf(error, slot));
      },
    );
    return () => controller.abort();
  }, [scope, period, key, model, secret, round]);
  return { usage, problem, reload: () => setRound((round) => round + 1) };
}
