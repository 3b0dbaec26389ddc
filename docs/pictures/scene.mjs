// A gateway whose units are in use, and a camera for its pages.

import { spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { load, start } from "../browser/server.mjs";
import { Stage } from "../browser/stage.mjs";

export const SMALL = "meta-llama/Meta-Llama-3.1-8B-Instruct";
export const MIDDLE = "Qwen/Qwen2.5-Coder-32B-Instruct";
export const LARGE = "Qwen/Qwen2.5-72B-Instruct";
export const GIANT = "deepseek-ai/DeepSeek-V3-0324";
export const OTHER = "google/gemma-2-9b-it";

/** The size of the page in README.md, where it is shown at about 850 pixels. */
export const README = { width: 1180, height: 832 };

/** The pixels of a picture for each pixel of the page. */
const SCALE = 2;
const WEBP_QUALITY = 82;

/** Slow enough to photograph an answer in its middle. */
export const SLOW = ["--tokens-per-second", "16"];

export const gateway = (args, env = {}) =>
  start(["serve", "--listen", "127.0.0.1:0", "--emulator", ...args], env);

const chat = (url) => `${url}/v1/chat/completions`;

/** Streams that hold their units for a long time: the number of calls of each model. */
export function fill(url, calls, options) {
  for (const [model, number] of calls) load(chat(url), model, number, options);
}

export const open = (browser, url, options) =>
  Stage.open(browser, url, { viewport: README, ...options });

/** Writes what the page shows, and returns the number of bytes. */
export async function photograph(page, file) {
  // Nothing blinks, moves or is pointed at.
  await page.mouse.move(0, 0);
  const session = await page.context().newCDPSession(page);
  const { data } = await session.send("Page.captureScreenshot", {
    format: "webp",
    quality: WEBP_QUALITY,
    clip: { x: 0, y: 0, ...page.viewportSize(), scale: SCALE },
  });
  const picture = Buffer.from(data, "base64");
  await writeFile(file, picture);
  return picture.length;
}

/** Runs a program, and waits for its end. */
export async function run(command, ...args) {
  const child = spawn(command, args, { stdio: ["ignore", "inherit", "inherit"] });
  const code = await new Promise((resolve) => child.once("exit", resolve));
  if (code !== 0) throw new Error(`${args[0]} ended with ${code}`);
}

/** The answers that `traffic` asks for: a model, and the tokens. */
const KINDS = [
  [SMALL, 240],
  [SMALL, 120],
  [MIDDLE, 180],
  [SMALL, 300],
  [LARGE, 150],
  [OTHER, 90],
];
const PRIORITIES = ["interactive", "default", "batch"];
/** The time of a wave of calls, and the calls per second at its top. */
const WAVE_SECONDS = 34;
const CALLS_PER_SECOND = 1.6;

/** Calls that come in waves, with these keys in turn, until the returned function is called. */
export function traffic(url, keys) {
  const begin = Date.now();
  let due = 0;
  let number = 0;
  const timer = setInterval(() => {
    const phase = (2 * Math.PI * (Date.now() - begin)) / 1000 / WAVE_SECONDS;
    due += (CALLS_PER_SECOND * (1.1 - Math.cos(phase))) / 2 / 10;
    for (; due >= 1; due -= 1) {
      const [model, tokens] = KINDS[number % KINDS.length];
      const key = keys[number % keys.length];
      const priority = PRIORITIES[number % 7 % PRIORITIES.length];
      load(chat(url), model, 1, { key, priority, tokens });
      number += 1;
    }
  }, 100);
  return () => clearInterval(timer);
}
