// Every state of the page, to look at before a change of its looks lands: light and dark, wide and on
// a phone.

import { call, createKey, MIDDLE as GEMMA, openKeys, SLOTS, usage } from "../browser/keys-stage.mjs";
import { endLoad } from "../browser/server.mjs";
import { openBrowser, PHONE } from "../browser/stage.mjs";
import {
  fill,
  gateway,
  GIANT,
  LARGE,
  MIDDLE,
  open,
  photograph,
  README,
  SLOW,
  SMALL,
} from "./scene.mjs";

const [folder] = process.argv.slice(2);
const browser = await openBrowser();
const QUESTION = "Compare tea and coffee in a table";

/** A page in each look, and its picture after `body`. */
async function take(name, at, options, body, looks = ["light", "dark", "phone"]) {
  for (const look of looks) {
    const viewport = look === "phone" ? PHONE : README;
    const colorScheme = look === "dark" ? "dark" : "light";
    const stage = await (options.open ?? open)(browser, at, { viewport, colorScheme, ...options });
    await body(stage, stage.page);
    await photograph(stage.page, `${folder}/${name}-${look}.webp`);
    await endLoad();
    await stage.context.close();
    console.log(`${name}-${look}`);
  }
}

const { url } = await gateway([...SLOW, "--circuit-failures", "0"]);

await take("empty", url, {}, (stage) => stage.ready());

await take("streaming", url, {}, async (stage, page) => {
  await stage.ready();
  await stage.ask(QUESTION);
  fill(url, [[LARGE, 1], [MIDDLE, 2]]);
  await page.locator(".answer .markdown", { hasText: "black tea" }).waitFor();
});

await take("queued", url, {}, async (stage, page) => {
  await stage.ready();
  fill(url, [[LARGE, 2]]);
  await page.locator(".meter-text", { hasText: "8/8" }).waitFor();
  fill(url, [[SMALL, 2]]);
  await page.locator(".meter-wait").waitFor({ state: "attached" });
  await stage.ask(QUESTION);
  await page.locator(".stats-wait", { hasText: "queue" }).waitFor();
});

await take("answer", url, {}, async (stage) => {
  await stage.ready();
  await stage.asks(QUESTION);
});

await take("compare", url, {}, async (stage, page) => {
  await stage.ready();
  await stage.button("Compare").click();
  await stage.chooseIn(MIDDLE);
  await stage.ask(QUESTION);
  await page.locator(".answer .markdown", { hasText: "black tea" }).nth(1).waitFor();
});

await take("search", url, {}, async (stage, page) => {
  await stage.ready();
  await page.locator(".model-button").first().click();
  await page.getByRole("option").nth(5).waitFor();
});

await take("code", url, {}, async (stage, page) => {
  await stage.ready();
  await stage.asks("Say hello in 5 words");
  await stage.button("Copy as code").click();
  await page.locator(".snippet-text").waitFor();
});

await take("cut", url, {}, async (stage) => {
  await stage.ready();
  await stage.choose("emulator/cut-after-5");
  await stage.ask("Tell me a story");
  await stage.ends("cut");
});

await take("error", url, {}, async (stage, page) => {
  await stage.ready();
  await stage.choose("emulator/gated");
  await stage.ask("Tell me a story");
  await page.locator(".answer .problem, .answer [class*=problem]").first().waitFor();
});

const busy = await gateway([...SLOW, "--circuit-failures", "2", "--retries", "0"]);

await take("units-free", busy.url, { hash: "#/units" }, (_, page) => page.locator(".live-chip").waitFor());

// A model that fails.
for (let turn = 0; turn < 2; turn += 1) await call(busy.url, "", "emulator/502-html");

await take("units", busy.url, { hash: "#/units" }, async (_, page) => {
  fill(busy.url, [[GIANT, 1], [MIDDLE, 1], [SMALL, 2]]);
  await page.locator(".requests tbody tr").nth(3).waitFor();
  // The history gets a shape.
  await page.locator(".requests td:last-child", { hasText: /^1\d/ }).first().waitFor();
  fill(busy.url, [[SMALL, 3]], { priority: "batch" });
  fill(busy.url, [[LARGE, 2]], { priority: "interactive" });
  fill(busy.url, [[MIDDLE, 4]]);
  await page.locator(".meter-wait", { hasText: "9" }).waitFor({ state: "attached" });
});

const kept = await gateway(["--tokens-per-second", "1000"]);
const root = await createKey(kept.url, "root", "ADMIN");
for (const [name, model, calls] of [
  ["website", SMALL, 14],
  ["search", GEMMA, 9],
  ["reports", LARGE, 4],
  ["tests", MIDDLE, 2],
]) {
  const secret = await createKey(kept.url, name, "INFERENCE", root);
  for (let turn = 0; turn < calls; turn += 1) await call(kept.url, secret, model);
}
const asAdmin = { open: openKeys, keys: { [SLOTS.admin]: root } };

await take("keys", kept.url, asAdmin, (_, page) =>
  page.getByRole("button", { name: "tests", exact: true }).waitFor(),
);
await take("usage", kept.url, asAdmin, (stage, page) => usage(stage, page, 29));
await take("key", kept.url, asAdmin, async (_, page) => {
  await page.getByRole("button", { name: "search", exact: true }).click();
  await page.waitForTimeout(300);
});
await take("no-key", kept.url, {}, async (_, page) => {
  await page.waitForTimeout(600);
});

process.exit(0);
