// The queue for units in the chat of the playground: a call shows its own position.

import assert from "node:assert/strict";
import { check } from "../node/checks.mjs";
import { endLoad, load, serve, stopAll } from "./server.mjs";
import { openBrowser, Stage } from "./stage.mjs";

const browser = await openBrowser();
const { url } = await serve("--emulator", "--emulator-units", "4", "--tokens-per-second", "200");

/** Waits until the answer on this page says this of its wait. */
const says = (stage, text) => stage.page.locator(".stats-wait dd", { hasText: text }).waitFor();

/** Waits until the page shows as many units in use. */
const inUse = (stage, units) =>
  stage.page.locator(".meter", { hasText: new RegExp(`${units}/4 units`) }).waitFor();

await check("a call shows its own position, which changes when one before it leaves", async () => {
  const first = await Stage.open(browser, url);
  const second = await Stage.open(browser, url);
  try {
    await first.ready();
    await second.ready();
    load(`${url}/v1/chat/completions`, "emulator/stall-after-5", 1);
    await inUse(first, 4);
    await first.ask("Say hello in 5 words");
    await says(first, /^1st in the queue for 1 unit, \d+ s$/);
    await second.ask("Say hello in 5 words");
    await says(second, /^2nd in the queue for 1 unit, \d+ s$/);
    await says(second, /^2nd in the queue for 1 unit, ([2-9]|\d{2,}) s$/);
    await first.button("Stop").first().click();
    await first.ends("stopped");
    await says(second, /^1st in the queue for 1 unit, \d+ s$/);
    await endLoad();
    const answer = await second.ends();
    assert.notEqual((await answer.locator(".markdown").innerText()).trim(), "");
    assert.match(await answer.locator(".stats").innerText(), /s in the queue/);
    assert.equal(await second.page.locator(".stats-wait").count(), 0);
    await second.button("Raw events").last().click();
    await second.page.locator(".events-list", { hasText: '"requests_ahead":' }).waitFor();
    await inUse(first, 0);
  } finally {
    await endLoad();
    await first.close();
    await second.close();
  }
});

await browser.close();
stopAll();
