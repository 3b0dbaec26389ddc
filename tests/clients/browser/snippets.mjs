// The programs that the playground offers, as they stand: each is copied from the page and run.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { promisify } from "node:util";
import { check, KEY, URL as KEYED } from "../node/checks.mjs";
import { openBrowser, Stage } from "./stage.mjs";

const OPEN = process.env.FEATHERWIRE_PLAYGROUND_URL;
// Quotes, a dollar and a line break must survive every language.
const ANSWER = `it's "fine": $HOME \\ \`x\` ☂\nsecond line`;

const browser = await openBrowser();
const run = promisify(execFile);

/** The programs of the page by their names, for a conversation with settings of every kind. */
async function programs(url, key) {
  const stage = await Stage.open(browser, url);
  const { page } = stage;
  if (key) {
    await page.getByRole("dialog").getByLabel("Key").fill(key);
    await page.getByRole("dialog").getByLabel("Key").press("Enter");
  }
  await stage.ready();
  await page.getByLabel("System prompt").fill("Answer as you are asked");
  await stage.unfold("Parameters");
  await page.getByLabel("Top K", { exact: true }).fill("40");
  await page.getByLabel("Temperature", { exact: true }).fill("0.5");
  await page.getByLabel("Log probabilities", { exact: true }).selectOption("false");
  await stage.asks("repeat after me: first");
  await page.locator("#prompt").fill(`repeat after me: ${ANSWER}`);
  await stage.button("Copy as code").click();
  const found = {};
  for (const name of ["curl", "grpcurl", "Python", "TypeScript"]) {
    await page.getByRole("tab", { name, exact: true }).click();
    await page.getByRole("button", { name: `Copy the ${name} program` }).click();
    await stage.button("Copied").waitFor();
    found[name] = await page.evaluate(() => navigator.clipboard.readText());
  }
  await stage.close();
  return found;
}

/** What the content of these pieces is together. */
const joined = (pieces) =>
  pieces.flatMap(({ choices }) => choices.map(({ delta }) => delta?.content ?? "")).join("");

for (const [kind, url, key] of [
  ["without a key", OPEN, ""],
  ["with a key", KEYED, KEY],
]) {
  let found;
  await check(`programs are copied ${kind}`, async () => {
    found = await programs(url, key);
    for (const text of Object.values(found)) assert.ok(!text.includes(KEY));
  });
  if (!found) continue;
  const env = { ...process.env, FEATHERWIRE_KEY: key };
  if (!key) delete env.FEATHERWIRE_KEY;

  await check(`curl runs ${kind}`, async () => {
    const { stdout } = await run("bash", ["-c", found.curl], { env });
    const events = stdout.split("\n").filter((line) => line.startsWith("data: {"));
    assert.equal(joined(events.map((line) => JSON.parse(line.slice(6)))), ANSWER);
    assert.match(stdout, /data: \[DONE\]/);
  });

  await check(`grpcurl's request is valid ${kind}`, async () => {
    // buf takes the same request and the same metadata, and is here; grpcurl is not.
    const given = '"${@:2:$#-3}" "http://${@: -2:1}/${@: -1}"';
    const buf = `grpcurl() { buf curl --http2-prior-knowledge --protocol grpc ${given}; }\n`;
    const text = found.grpcurl.replace("-d @", "-d @-");
    const { stdout } = await run("bash", ["-c", buf + text], { env });
    const messages = stdout
      .trim()
      .split(/\n(?=\{)/)
      .map((text) => JSON.parse(text));
    assert.equal(joined(messages), ANSWER);
  });

  await check(`Python runs ${kind}`, async () => {
    const file = "browser/snippet.py";
    await writeFile(file, found.Python);
    const { stdout } = await run("python", [file], { env });
    assert.equal(stdout, `${ANSWER}\n`);
  });

  await check(`TypeScript runs ${kind}`, async () => {
    const file = "browser/snippet.ts";
    await writeFile(file, found.TypeScript);
    const bundle = [
      "--bundle",
      "--platform=node",
      "--format=esm",
      "--packages=external",
      "--outfile=browser/snippet.mjs",
    ];
    await run("esbuild", [file, ...bundle, "--log-level=warning"]);
    await run("tsc", [
      "--noEmit",
      "--strict",
      "--skipLibCheck",
      "--target",
      "es2022",
      "--module",
      "nodenext",
      "--types",
      "node",
      "browser/snippet.ts",
    ]);
    const { stdout } = await run("node", ["browser/snippet.mjs"], { env });
    assert.equal(stdout, `${ANSWER}\n`);
  });
}

await browser.close();
