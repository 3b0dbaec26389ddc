import { Code, ConnectError } from "@connectrpc/connect";
import { effect, signal } from "@preact/signals";
import { AccountService, type Concurrency } from "../gen/featherwire/v1/account_service_pb";
import { client } from "./client";
import { keyOf } from "./key";
import { isCancelled, problemOf, type Problem } from "./problem";

/** The wait before another try, after a stream that gave nothing, and at most. */
const RETRY_MS_MIN = 1_000;
const RETRY_MS_MAX = 30_000;

/** A stream without news for so long is taken for lost. Updates come about every two seconds. */
const SILENCE_MS_MAX = 30_000;

/** A further try cannot succeed after these errors, until the key changes. */
const FINAL_CODES: readonly Code[] = [
  Code.Unauthenticated,
  Code.PermissionDenied,
  Code.Unimplemented,
];

export interface LiveUnits {
  state: "connecting" | "live" | "lost";
  /** The latest picture. It stays when the stream is lost. */
  picture?: Concurrency;
  /** When the picture arrived, in milliseconds since 1970. */
  at: number;
  problem?: Problem;
  /** When the next try begins, if the stream is lost. Unset: with another key, or by hand. */
  retryAt?: number;
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

const round = signal(0);

/** Opens a lost stream again without the wait. */
export function retryUnits(): void {
  round.value += 1;
}

/** One stream, which begins again when the key changes, and rests while nobody sees the page. */
function run(): () => void {
  const isVisible = signal(!document.hidden);
  // A browser has six connections to an origin over HTTP/1.1. Hidden pages must not use them up.
  const look = () => (isVisible.value = !document.hidden);
  document.addEventListener("visibilitychange", look);
  addEventListener("online", retryUnits);
  const end = effect(() => {
    keyOf("calls");
    round.value;
    if (!isVisible.value) return;
    const controller = new AbortController();
    void follow(controller.signal);
    return () => controller.abort();
  });
  return () => {
    document.removeEventListener("visibilitychange", look);
    removeEventListener("online", retryUnits);
    end();
  };
}

async function follow(abort: AbortSignal): Promise<void> {
  let waitMs = RETRY_MS_MIN;
  liveUnits.value = { ...liveUnits.peek(), state: "connecting", retryAt: undefined };
  while (!abort.aborted) {
    let problem: Problem | undefined;
    let isFinal = false;
    try {
      await watch(abort, () => (waitMs = RETRY_MS_MIN));
    } catch (error) {
      if (abort.aborted) return;
      problem = isCancelled(error) ? undefined : problemOf(error);
      isFinal = FINAL_CODES.includes(ConnectError.from(error).code);
    }
    if (abort.aborted) return;
    const retryAt = isFinal ? undefined : Date.now() + waitMs;
    liveUnits.value = { ...liveUnits.peek(), state: "lost", problem, retryAt };
    if (isFinal) return;
    await pause(waitMs, abort);
    waitMs = Math.min(waitMs * 2, RETRY_MS_MAX);
  }
}

/** Reads one stream to its end, and ends it when it is silent for too long. */
async function watch(abort: AbortSignal, onPicture: () => void): Promise<void> {
  const attempt = new AbortController();
  const end = () => attempt.abort();
  let timer = setTimeout(end, SILENCE_MS_MAX);
  abort.addEventListener("abort", end, { once: true });
  try {
    const stream = client(AccountService).watchConcurrency({}, { signal: attempt.signal });
    for await (const picture of stream) {
      clearTimeout(timer);
      timer = setTimeout(end, SILENCE_MS_MAX);
      if (abort.aborted) return;
      liveUnits.value = { state: "live", picture, at: Date.now() };
      onPicture();
    }
  } finally {
    clearTimeout(timer);
    abort.removeEventListener("abort", end);
  }
}

function pause(ms: number, abort: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    abort.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
