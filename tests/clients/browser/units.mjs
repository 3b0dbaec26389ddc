// The view of units: what uses them, who waits, and what the page shows when the stream is lost.

import assert from "node:assert/strict";
import { check } from "../node/checks.mjs";
import { findsNothing } from "./axe-check.mjs";
import { endLoad, load, serve, start, stopAll } from "./server.mjs";
import { openBrowser, PHONE, Stage, WIDE } from "./stage.mjs";

const SMALL = "meta-llama/Meta-Llama-3.1-8B-Instruct";
const LARGE = "Qwen/Qwen2.5-72B-Instruct";
const SLOW = ["--tokens-per-second", "20"];

const browser = await openBrowser();

/** A check on the view of units of this gateway. */
function on(name, url, options, body) {
  return check(name, async () => {
    const stage = await Stage.open(browser, url, { ...options, hash: "#/units" });
    try {
      await stage.page.locator(".live-chip").waitFor();
      await body(stage, stage.page);
    } finally {
      await endLoad();
      await stage.close();
    }
  });
}

const chat = (url) => `${url}/v1/chat/completions`;

/** The number of cells of each use. */
const cells = (page) =>
  page.locator(".cells i").evaluateAll((all) => {
    const uses = all.map((cell) => cell.dataset.use);
    const count = (use) => [use, uses.filter((other) => other === use).length];
    return Object.fromEntries(["own", "outside", "busy", "settling", "free"].map(count));
  });

/** Waits until the view has this many cells of this use. */
const shows = (page, use, number) =>
  page.waitForFunction(
    ([use, number]) => document.querySelectorAll(`.cells i[data-use=${use}]`).length === number,
    [use, number],
  );

const { url } = await serve(
  "--emulator",
  "--emulator-units",
  "8",
  ...SLOW,
  "--circuit-failures",
  "2",
  "--retries",
  "0",
);

await on("units are free at first, and the plan is named", url, {}, async (stage, page) => {
  assert.deepEqual(await cells(page), { own: 0, outside: 0, busy: 0, settling: 0, free: 8 });
  await page.locator(".plan-words", { hasText: "Featherwire Emulator · 8 units" }).waitFor();
  assert.match(await stage.text(".requests"), /Nothing runs/);
  assert.match(await stage.text("#account-title"), /^0 of 8 units in use/);
});

await on(
  "a request has as many cells as it costs, and a row with its model",
  url,
  {},
  async (stage, page) => {
    load(chat(url), LARGE, 1);
    load(chat(url), SMALL, 1);
    await page.locator(".requests tbody tr").nth(1).waitFor();
    assert.deepEqual(await cells(page), { own: 5, outside: 0, busy: 0, settling: 0, free: 3 });
    const joined = await page.locator(".cells i[data-joined]").count();
    assert.equal(joined, 3, "the four cells of one request are one block");
    const row = page.locator(".requests tbody tr", { hasText: LARGE });
    assert.match(await row.innerText(), /4\s+[\d.]+ m?s$/);
    const number = await row.locator(".swatch").innerText();
    const block = page.locator(".cells i", { hasText: number });
    const colourOf = (cell) => getComputedStyle(cell).getPropertyValue("--use");
    const colour = await block.evaluate(colourOf);
    assert.equal(
      await row.locator(".swatch").evaluate(colourOf),
      colour,
      "the row has the colour of the cells",
    );
    assert.notEqual(
      await page.locator(".requests .swatch", { hasNotText: number }).evaluate(colourOf),
      colour,
    );
    const words = await page
      .getByRole("img", { name: /8 units: 5 in use by this gateway, 3 free/ })
      .count();
    assert.equal(words, 1);
    await page.waitForFunction(
      () => document.querySelector(".history-area[data-use=own]").getAttribute("d") !== "",
    );
    await endLoad();
    await shows(page, "free", 8);
  },
);

await on(
  "calls that do not fit wait by class and by key, and the waits grow",
  url,
  {},
  async (stage, page) => {
    load(chat(url), LARGE, 2);
    load(chat(url), LARGE, 2, { priority: "interactive" });
    load(chat(url), SMALL, 1, { priority: "batch" });
    await page.locator("#queue-title", { hasText: "3 waiting" }).waitFor();
    const classes = await stage.text(".classes");
    assert.match(classes.replaceAll(/\s+/g, " "), /Interactive [0-2] Default [0-2] Batch [01]/);
    await page.waitForFunction(() => /\d/.test(document.querySelector(".facts dd").textContent));
    const share = page.getByRole("region", { name: "Shares by key" });
    assert.match(await share.locator("tbody tr").innerText(), /Key 1\s+1\s+8\s+3/);
    assert.match(await stage.text(".meter-wait"), /3 waiting/);
    await page.locator(".history-waiting:not(.halo)[d^=M]").waitFor({ state: "attached" });
  },
);

await on(
  "a model that fails twice rests, and the view says until when",
  url,
  {},
  async (stage, page) => {
    assert.match(
      await page.getByRole("region", { name: "Circuits" }).innerText(),
      /No model has failed/,
    );
    for (let call = 0; call < 2; call += 1) {
      const messages = [{ role: "user", content: "hi" }];
      await fetch(chat(url), {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ model: "emulator/503", messages }),
      });
    }
    const row = page.locator(".circuits li", { hasText: "emulator/503" });
    await row.waitFor();
    assert.match(
      await row.innerText(),
      /Rests\s+2 failures in a row, the last: no_capacity\. Tried again in \d+/,
    );
  },
);

for (const colorScheme of ["light", "dark"]) {
  for (const viewport of [WIDE, PHONE]) {
    await on(
      `axe finds nothing under load: ${colorScheme}, ${viewport.width} pixels`,
      url,
      { colorScheme, viewport },
      async (stage, page) => {
        load(chat(url), LARGE, 1);
        // It comes first: behind six others it would wait alone.
        await shows(page, "own", 4);
        load(chat(url), SMALL, 6);
        await page.locator("#queue-title", { hasText: "2 waiting" }).waitFor();
        await findsNothing(page);
        const isWide = await page
          .locator(".view:not([hidden])")
          .evaluate((view) => view.scrollWidth > view.clientWidth);
        assert.equal(isWide, false, "nothing is wider than the screen");
        await endLoad();
        await shows(page, "free", 8);
      },
    );
  }
}

const unlimited = await serve("--emulator", "--emulator-units", "0", ...SLOW);
await on(
  "a plan without a limit has no free cells, and says so",
  unlimited.url,
  {},
  async (stage, page) => {
    assert.match(await stage.text(".account"), /no limit of units/);
    load(chat(unlimited.url), SMALL, 3);
    await shows(page, "own", 3);
    assert.equal((await cells(page)).free, 0);
  },
);

const emulator = await start(["emulator", "--listen", "127.0.0.1:0", ...SLOW]);
const upstream = { FEATHERLESS_BASE_URL: `${emulator.url}/v1`, FEATHERLESS_API_KEY: "any" };
const behind = (listen) => start(["serve", "--listen", listen], upstream);
let gateway = await behind("127.0.0.1:0");

await on("units of other processes look different", gateway.url, {}, async (stage, page) => {
  load(chat(emulator.url), LARGE, 1, { key: "other" });
  await shows(page, "outside", 4);
  assert.match(await stage.text(".legend"), /Other processes\s+4/);
  const image = await page
    .locator(".cells i[data-use=outside]")
    .first()
    .evaluate((cell) => getComputedStyle(cell).backgroundImage);
  assert.match(image, /gradient/, "a pattern, and not only a colour");
  load(chat(gateway.url), SMALL, 1);
  await shows(page, "busy", 5);
  assert.match(await stage.text(".account"), /without telling who sent them/);
});

await on(
  "a lost gateway is said, and the view is live again when it is back",
  gateway.url,
  {},
  async (stage, page) => {
    const { host } = new URL(gateway.url);
    await gateway.stop();
    await page.locator(".page-head .chip", { hasText: "Not live" }).waitFor();
    await page.locator(".not-live", { hasText: "The gateway does not answer" }).waitFor();
    await page.getByText(/The numbers below are .* old/).waitFor();
    await page.getByText(/Next try in \d+ s/).waitFor();
    assert.equal(await page.locator(".cells i").count(), 8, "the last picture stays");
    await findsNothing(page);
    gateway = await behind(host);
    // The page may have tried by itself a moment before, and then has no button.
    const live = page.locator(".live-chip").waitFor();
    await Promise.race([live, stage.button("Try now").click().catch(() => {})]);
    await live;
  },
);

const keyed = await start(["serve", "--listen", "127.0.0.1:0", "--emulator"], {
  FEATHERWIRE_API_KEYS: "gw_test_units",
});
await check("without a key the view asks once, and is live with it", async () => {
  const stage = await Stage.open(browser, keyed.url, { hash: "#/units" });
  const { page } = stage;
  await page.getByRole("dialog").waitFor();
  await page.keyboard.press("Escape");
  await page.getByText("does not try again until the key changes").waitFor();
  assert.equal(await page.getByRole("dialog").count(), 0);
  await page.getByRole("button", { name: /^Key: none/ }).click();
  await page.getByLabel("Key", { exact: true }).fill("gw_test_units");
  await page.keyboard.press("Enter");
  await page.locator(".live-chip").waitFor();
  await stage.close();
});

await browser.close();
stopAll();
