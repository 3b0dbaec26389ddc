// The view of usage: sums by time, model and key, and their file.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { check } from "../node/checks.mjs";
import { findsNothing } from "./axe-check.mjs";
import {
  call,
  createKey,
  MIDDLE,
  openKeys,
  row,
  SLOTS,
  SMALL,
  total,
  usage,
} from "./keys-stage.mjs";
import { serve, stopAll } from "./server.mjs";
import { openBrowser } from "./stage.mjs";

const browser = await openBrowser();
/** The number of calls that the checks make. */
const CALLS = 9;

const { url } = await serve("--emulator", "--tokens-per-second", "1000");
const root = await createKey(url, "root", "ADMIN");
const search = await createKey(url, "search-app", "INFERENCE", root);
const formula = await createKey(url, "=2+3", "INFERENCE", root);
for (let turn = 0; turn < CALLS - 1; turn += 1) assert.equal(await call(url, search), 200);
assert.equal(await call(url, formula, MIDDLE), 200);

function on(name, options, body) {
  return check(name, async () => {
    const stage = await openKeys(browser, url, options);
    try {
      await body(stage, stage.page);
    } finally {
      await stage.close();
    }
  });
}

const admin = () => ({ keys: { [SLOTS.admin]: root } });

await on(
  "usage is shown by day, model and key, with totals and a table",
  admin(),
  async (stage, page) => {
    await usage(stage, page, CALLS);
    assert.notEqual(await total(page, "Tokens of answers"), "0");
    const byModel = page.getByRole("region", { name: "By model" });
    const byKey = page.getByRole("region", { name: "By key" });
    assert.match(await byModel.innerText(), new RegExp(`${SMALL}[\\s\\S]*${MIDDLE}`));
    assert.match(await byKey.innerText(), /search-app[\s\S]*=2\+3/);
    assert.equal(await page.locator(".chart-bar").count(), 7);
    await page.getByRole("img", { name: /^By day: the most is \d+, / }).waitFor();
    await page.getByText("As a table").click();
    assert.match(
      await page.locator(".table-scroll tbody tr").first().innerText(),
      /^\d+ \w+\s+\d+/,
    );
    await findsNothing(page);
    const day = page.getByRole("radio", { name: "7 days" });
    await day.focus();
    await page.keyboard.press("ArrowLeft");
    await page.getByRole("heading", { name: "By hour" }).waitFor();
    await page.waitForFunction(() => document.querySelectorAll(".chart-bar").length === 24);
    await page.getByText("Tokens", { exact: true }).first().click();
    await page.getByText("Prompts", { exact: true }).waitFor();
    await page.getByText("90 days").click();
    await page.waitForFunction(() => document.querySelectorAll(".chart-bar").length === 90);
    const before = Number(await total(page, "Calls"));
    await byKey.getByRole("button", { name: "=2+3" }).click();
    await page.waitForFunction(() => document.querySelector(".totals strong").textContent === "1");
    await stage.button("Not only =2+3").click();
    await page.waitForFunction(
      (before) => Number(document.querySelector(".totals strong").textContent) >= before,
      before,
    );
  },
);

await on(
  "the file for spreadsheets has a row for each day, model and key",
  admin(),
  async (stage, page) => {
    await usage(stage, page, CALLS);
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      stage.button("CSV").click(),
    ]);
    assert.match(
      download.suggestedFilename(),
      /^featherwire-usage-\d{4}-\d\d-\d\d-to-\d{4}-\d\d-\d\d\.csv$/,
    );
    const lines = (await readFile(await download.path(), "utf8")).trim().split("\r\n");
    assert.match(lines[0], /^start,key,key_id,model,calls,failed/);
    assert.ok(lines.some((line) => line.includes(`search-app`) && line.includes(SMALL)));
    assert.ok(
      lines.some((line) => line.includes(",'=2+3,")),
      "a name is no formula",
    );
  },
);

await on("the usage of one key is shown from its details", admin(), async (stage, page) => {
  await row(page, "search-app").getByRole("button").click();
  await page.getByRole("dialog").getByRole("button", { name: "Usage" }).click();
  await stage.button("Not only search-app").waitFor();
});

await browser.close();
stopAll();
