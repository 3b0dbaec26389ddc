// Gateways and emulators that a suite starts for itself, to end and start them in a check.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** Without the variables of the tests, which are no settings of a gateway. */
const OUTER = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !name.startsWith("FEATHERWIRE_")),
);

const running = new Set();

/** Starts `featherwire COMMAND…`, and waits until it listens. */
export async function start(args, env = {}) {
  const child = spawn(process.env.FEATHERWIRE_BIN, args, {
    env: { ...OUTER, FEATHERWIRE_LOG: "error", ...env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  running.add(child);
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const url = await new Promise((resolve, reject) => {
    createInterface({ input: child.stderr }).on("line", (line) => {
      const found =
        /^Featherwire .* on (http:\/\/[0-9.:]+)$|^Featherless emulator on (http:\S+?)\/v1 /.exec(
          line,
        );
      if (found) resolve(found[1] ?? found[2]);
    });
    void ended.then((code) => reject(new Error(`featherwire ${args[0]} ended with ${code}`)));
  });
  return {
    url,
    async stop() {
      child.kill("SIGKILL");
      await ended;
      running.delete(child);
    },
  };
}

export const serve = (...args) => start(["serve", "--listen", "127.0.0.1:0", ...args]);

export function stopAll() {
  for (const child of running) child.kill("SIGKILL");
}

// Also when `run` ends the suite, because it takes too long.
process.once("SIGTERM", () => process.exit(1));
process.once("exit", stopAll);

let loads = [];

/** Starts streamed answers of this model, which run until `endLoad` or to this number of tokens. */
export function load(url, model, calls, { key, priority, tokens = 4000 } = {}) {
  const controller = new AbortController();
  const headers = { "Content-Type": "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  if (priority) headers["x-featherwire-priority"] = priority;
  const messages = [{ role: "user", content: "Tell me a long story" }];
  const body = JSON.stringify({ model, messages, stream: true, max_tokens: tokens });
  const requests = Array.from({ length: calls }, async () => {
    const answer = await fetch(url, { method: "POST", headers, body, signal: controller.signal });
    await answer.text();
  });
  loads.push({ controller, ended: Promise.allSettled(requests) });
}

/** Ends all answers of `load`. */
export async function endLoad() {
  for (const { controller } of loads) controller.abort();
  await Promise.all(loads.map(({ ended }) => ended));
  loads = [];
}
