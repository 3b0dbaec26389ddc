// clients/typescript in a headless Chromium, by gRPC-Web.

import assert from "node:assert/strict";
import { open } from "../browser/site.mjs";
import { KEY, URL as GATEWAY, check, words } from "../node/checks.mjs";

const site = await open(new URL("web_page.js", import.meta.url));
const page = await site.visit("http://localhost");
await page.waitForFunction(() => window.run);
const seen = await page.evaluate(([url, key]) => window.run(url, key), [GATEWAY, KEY]);

await check("a unary answer and a stream, with the usage", () => {
  assert.equal(words(seen.unary), 5);
  assert.ok(seen.pieces.length > 1);
  assert.equal(words(seen.pieces.join("")), 5);
  assert.ok(seen.tokens > 0);
});

await check("typed errors: busy with its wait, cut short, a wrong key", () => {
  assert.deepEqual(seen.busy, ["NO_CAPACITY", 60_000, 32]);
  assert.deepEqual([seen.cut, seen.stranger], ["UPSTREAM_STREAM_CUT", "INVALID_API_KEY"]);
});

await check("all models, over several pages", () => assert.ok(seen.models > 2000));

await site.close();
