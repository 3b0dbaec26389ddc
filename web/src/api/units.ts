import { effect, signal } from "@preact/signals";
import { AccountService, type Concurrency } from "../gen/featherwire/v1/account_service_pb";
import { client } from "./client";
import { keyOf } from "./key";
import { isCancelled, problemOf, type Problem } from "./problem";

/** The wait before another try, after a stream that gave nothing, and at most. */
const RETRY_MS_MIN = 1_000;
const RETRY_MS_MAX = 30_000;

export interface LiveUnits {
  state: "connecting" | "live" | "lost";
  /** The latest picture. It stays when the stream is lost. */
  picture?: Concurrency;
  /** When the picture arrived, in milliseconds since 1970. */
  at: number;
  problem?: Problem;
}

/** The units of the account, while `watchUnits` is in use. */
export const liveUnits = signal<LiveUnits>({ state: "connecting", at: 0 });

let watchers = 0;
let stop: (() => void) | undefined;

/** Keeps `liveUnits` up to date until the returned function is called. All callers share a stream. */
export function watchUnits(): () => void {
  watchers += 1;
  stop ??= run();
  return () => {
    watchers -= 1;
    if (watchers > 0) return;
    stop?.();
    stop = undefined;
  };
}

/** One stream, which begins again when the key changes, and rests while nobody sees the page. */
function run(): () => void {
  const isVisible = signal(!document.hidden);
  // A browser has six connections to an origin over HTTP/1.1. Hidden pages must not use them up.
  const look = () => (isVisible.value = !document.hidden);
  document.addEventListener("visibilitychange", look);
  const end = effect(() => {
    keyOf("calls");
    if (!isVisible.value) return;
    const controller = new AbortController();
    void follow(controller.signal);
    return () => controller.abort();
  });
  return () => {
    document.removeEventListener("visibilitychange", look);
    end();
  };
}

async function follow(abort: AbortSignal): Promise<void> {
  const account = client(AccountService);
  let waitMs = RETRY_MS_MIN;
  while (!abort.aborted) {
    try {
      for await (const picture of account.watchConcurrency({}, { signal: abort })) {
        liveUnits.value = { state: "live", picture, at: Date.now() };
        waitMs = RETRY_MS_MIN;
      }
    } catch (error) {
      if (abort.aborted || isCancelled(error)) return;
      liveUnits.value = { ...liveUnits.peek(), state: "lost", problem: problemOf(error) };
    }
    await pause(waitMs, abort);
    waitMs = Math.min(waitMs * 2, RETRY_MS_MAX);
  }
}

function pause(ms: number, abort: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    abort.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
