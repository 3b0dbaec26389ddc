// A headless Chromium with a page of another origin, which calls the gateway by gRPC-Web, by Connect and by fetch.

import assert from "node:assert/strict";
import { KEY, URL as GATEWAY, check, words } from "../node/checks.mjs";
import { open } from "./site.mjs";

const OPEN = process.env.FEATHERWIRE_OPEN_URL;

const site = await open(new URL("page.js", import.meta.url));

/** A page of this origin, what it can call, and the preflight requests that it sends. */
async function visit(origin) {
  const preflights = [];
  const methods = [];
  const page = await site.visit(origin, async (page) => {
    // Playwright's own events do not contain these requests.
    const devtools = await page.context().newCDPSession(page);
    await devtools.send("Network.enable");
    devtools.on("Network.requestWillBeSent", ({ request }) => {
      if (request.method === "OPTIONS") preflights.push(request.url);
      else methods.push(request.method);
    });
  });
  await page.waitForFunction(() => window.calls);
  const call = (name, ...given) => page.evaluate(([name, given]) => window.calls[name](...given), [name, given]);
  return { call, preflights, methods };
}

const page = await visit("http://localhost");

for (const protocol of ["gRPC-Web", "Connect with JSON", "Connect with protobuf"]) {
  await check(`a unary answer by ${protocol}, after a preflight`, async () => {
    const { text, id } = await page.call("unary", GATEWAY, KEY, protocol);
    assert.equal(words(text), 5);
    assert.match(id, /^[0-9a-f]{32}$/);
    assert.ok(page.preflights.some((url) => url.endsWith("/CreateChatCompletion")), "no preflight was seen");
  });

  await check(`a streamed answer by ${protocol}`, async () => {
    const { pieces, end } = await page.call("stream", GATEWAY, KEY, protocol);
    assert.equal(end, "ok");
    assert.equal(words(pieces.join("")), 5);
  });

  await check(`an error by ${protocol} with its details`, async () => {
    const error = await page.call("failure", GATEWAY, KEY, protocol, "emulator/gated");
    assert.equal(error.code, "PermissionDenied");
    assert.equal(error.reason, "MODEL_GATED");
    assert.match(error.help, /^https:/);
  });

  await check(`a missing key and a wrong one by ${protocol}`, async () => {
    for (const key of ["", "gw_wrong"]) {
      const error = await page.call("failure", GATEWAY, key, protocol);
      assert.deepEqual([error.code, error.reason], ["Unauthenticated", "INVALID_API_KEY"]);
    }
  });

  await check(`an answer by ${protocol} that is cut short ends with Unavailable, after the content before the cut`, async () => {
    const { pieces, end } = await page.call("stream", GATEWAY, KEY, protocol, "emulator/cut-after-5");
    assert.equal(end, "Unavailable");
    assert.ok(pieces.length > 0);
  });

  await check(`a method without side effects by ${protocol}`, async () => {
    assert.equal(await page.call("model", GATEWAY, KEY, protocol), "meta-llama/Meta-Llama-3.1-8B-Instruct");
    assert.equal(page.methods.at(-1), protocol === "gRPC-Web" ? "POST" : "GET");
  });
}

await check("a streamed answer by fetch from the REST door", async () => {
  assert.deepEqual(await page.call("rest", GATEWAY, KEY), { status: 200, last: "data: [DONE]" });
});

await check("a gateway without keys answers only pages of this machine", async () => {
  assert.equal(await page.call("reach", OPEN), 200);
  const stranger = await visit("http://stranger.example");
  assert.equal(await stranger.call("reach", OPEN), "blocked");
  const { code } = await stranger.call("failure", OPEN, "", "gRPC-Web");
  assert.equal(code, "Unknown", "fetch itself fails, so connect-web has no code to tell");
  // A simple GET has no preflight: the gateway refuses to let the page read the answer.
  await assert.rejects(stranger.call("model", OPEN, "", "Connect with JSON"), /Failed to fetch/);
});

await check("a gateway without keys refuses a host name that resolves to this machine", async () => {
  const rebound = new URL(OPEN);
  rebound.hostname = "rebound.example";
  const visitor = await site.browser.newPage();
  assert.equal((await visitor.goto(`${rebound.origin}/v1/models`)).status(), 403);
});

await site.close();
