// One line for each check, which `run` adds up: `ok NAME`, or `not ok NAME: why`.

import assert from "node:assert/strict";
import { basename, dirname } from "node:path";

export const URL = process.env.FEATHERWIRE_URL;
export const KEY = process.env.FEATHERWIRE_KEY;
export const MODEL = "meta-llama/Meta-Llama-3.1-8B-Instruct";

const file = process.argv[1];
const suite = `${basename(dirname(file))}/${basename(file).replace(/\..*/, "")}`;

/** Runs `body` and tells how it went; the other checks are worth running whatever it was. */
export async function check(name, body) {
  try {
    await body();
    console.log(`ok ${suite}: ${name}`);
  } catch (error) {
    console.log(`not ok ${suite}: ${name}: ${String(error).replaceAll("\n", " ")}`);
  }
}

/** What `body` throws, which it must. */
export async function thrown(body) {
  try {
    await body();
  } catch (error) {
    return error;
  }
  assert.fail("nothing was thrown");
}

export const words = (text) => text.split(/\s+/).filter(Boolean).length;
