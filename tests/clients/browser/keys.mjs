// The view of keys: with an admin key, a viewer's, the caller's own key only, and without any.

import assert from "node:assert/strict";
import { check } from "../node/checks.mjs";
import { findsNothing } from "./axe-check.mjs";
import { call as callAt, closed, createKey, MIDDLE, openKeys, row, SLOTS, usage } from "./keys-stage.mjs";
import { serve, start, stopAll } from "./server.mjs";
import { openBrowser, PHONE, WIDE } from "./stage.mjs";

const browser = await openBrowser();
const { url } = await serve("--emulator", "--tokens-per-second", "1000", "--circuit-failures", "0");
/** The secrets that the checks have seen, by the name of their key. */
const secrets = {};

function on(name, options, body) {
  return check(name, async () => {
    const stage = await openKeys(browser, options.at ?? url, options);
    try {
      await body(stage, stage.page);
    } finally {
      await stage.close();
    }
  });
}

const call = (key, model) => callAt(url, key, model);
const admin = () => ({ keys: { [SLOTS.admin]: secrets.root } });
/** Reads the secret that the dialog shows, and closes it. */
async function keepSecret(stage, page) {
  const secret = await page.locator(".secret-text").innerText();
  await stage.button("Copy the secret").click();
  await page.getByText("Copied").waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), secret);
  await page.keyboard.press("Escape");
  assert.equal(await page.locator(".secret-text").count(), 1, "Escape does not lose the secret");
  await stage.button("I have kept it").click();
  await page.locator(".secret-text").waitFor({ state: "detached" });
  const html = await page.content();
  assert.ok(!html.includes(secret), "the page has the secret no more");
  return secret;
}

await on("a gateway without keys helps to make the first admin key", {}, async (stage, page) => {
  await page.getByText("No keys yet").waitFor();
  await findsNothing(page);
  await stage.button("Make an admin key").click();
  assert.equal(await page.getByLabel("For", { exact: true }).inputValue(), "2");
  assert.equal(await page.getByText("Calls a minute").count(), 0, "an admin key has no limits");
  await page.getByLabel("Name", { exact: true }).fill("root");
  await page.keyboard.press("Enter");
  await page.locator(".secret-text").waitFor();
  await stage.button("Use it on this page").click();
  secrets.root = await keepSecret(stage, page);
  assert.match(secrets.root, /^gw_admin_/);
  assert.match(await row(page, "root").innerText(), /Active[\s\S]*Manages keys/);
});

await on("a key is made with all limits, by the keyboard alone", admin(), async (stage, page) => {
  await stage.button("New key").focus();
  await page.keyboard.press("Enter");
  await page.keyboard.type("search-app");
  await page.keyboard.press("Tab");
  await page.keyboard.type("Ada");
  await page.getByLabel("Ends", { exact: true }).selectOption("90");
  for (const [label, value] of [
    ["Calls a minute", "600"],
    ["Tokens a minute", "90000"],
    ["Units at once", "4"],
    ["Weight", "2"],
  ]) {
    await page.getByLabel(label).fill(value);
  }
  await page.getByLabel("Highest priority").selectOption("2");
  await page.getByLabel("Models").fill("meta-llama/*\ngoogle/*");
  await page.getByLabel("Labels").fill("team=search");
  await stage.button("Add a budget").focus();
  await page.keyboard.press("Enter");
  await page.getByLabel("Amount of budget 1").fill("100000");
  await stage.button("Add a budget").click();
  await page.getByLabel("Amount of budget 2").fill("7");
  await stage.button("Remove budget 2").click();
  await findsNothing(page);
  await stage.button("Create key").focus();
  await page.keyboard.press("Enter");
  await page.locator(".secret-text").waitFor();
  await findsNothing(page);
  secrets.search = await keepSecret(stage, page);
  assert.match(secrets.search, /^gw_live_/);
  const shown = await row(page, "search-app").innerText();
  assert.match(
    shown,
    /600 calls\/min, 90K tokens\/min, at most 4 units, weight 2, priority default, 2 patterns/,
  );
  assert.match(shown, /Ada[\s\S]*in (89|90) d/);
  assert.equal(await call(secrets.search), 200);
  assert.equal(await call(secrets.search, "Qwen/Qwen2.5-72B-Instruct"), 403);
});

await on(
  "the details of a key have its limits, labels and the end of its secret",
  admin(),
  async (stage, page) => {
    await row(page, "search-app").getByRole("button").click();
    const text = await page.getByRole("dialog").innerText();
    for (const part of [
      "Active",
      "of Ada",
      "team",
      "search",
      "meta-llama/*",
      "google/*",
      "100K tokens a day",
      "left",
      "gw_live_",
    ]) {
      assert.ok(text.includes(part), part);
    }
    assert.ok(!text.includes(secrets.search));
    await findsNothing(page);
    await page.keyboard.press("Escape");
    await closed(page);
    const focused = await page.evaluate(() => document.activeElement.textContent);
    assert.equal(focused, "search-app", "the focus goes back to the key");
  },
);

await on("limits are changed and cleared", admin(), async (stage, page) => {
  await row(page, "search-app").getByRole("button").click();
  await stage.button("Change").click();
  assert.equal(await page.getByLabel("Calls a minute").inputValue(), "600");
  await page.getByLabel("Calls a minute").fill("1200");
  await page.getByLabel("Weight").fill("");
  await page.getByLabel("Models").fill("");
  await page.getByLabel("Owner").fill("Grace");
  await stage.button("Save").click();
  await page.getByText("of Grace").waitFor();
  await stage.button("Close").click();
  await page.locator(".keys-table", { hasText: "1,200 calls/min" }).waitFor();
  const shown = await row(page, "search-app").innerText();
  assert.match(
    shown,
    /100K tokens a day, 1,200 calls\/min, 90K tokens\/min, at most 4 units, priority default\s/,
  );
  assert.match(shown, /in (89|90) d/, "the end stays");
  assert.equal(await call(secrets.search, MIDDLE), 200);
});

await on("what the gateway refuses is said at the field", admin(), async (stage, page) => {
  await stage.button("New key").click();
  await page.getByLabel("Name", { exact: true }).fill("late");
  await page.getByLabel("Ends", { exact: true }).selectOption("date");
  await page.getByLabel("Date").fill("2020-01-31");
  await stage.button("Create key").click();
  const problem = page.getByRole("alert");
  await problem.waitFor();
  assert.match(await problem.innerText(), /expires_at/);
  await findsNothing(page);
});

await on(
  "a rotation shows another secret, and the present one goes on",
  admin(),
  async (stage, page) => {
    await row(page, "search-app").getByRole("button").click();
    await stage.button("Rotate").click();
    assert.equal(await page.getByLabel("The present secret stays valid for").inputValue(), "24");
    await stage.button("Make another secret").click();
    await page.getByText("stays valid for 24 hours").waitFor();
    const before = secrets.search;
    secrets.search = await keepSecret(stage, page);
    assert.notEqual(secrets.search, before);
    assert.deepEqual(
      [await call(before), await call(secrets.search)],
      [200, 200],
      "both are valid",
    );
    await row(page, "search-app").getByRole("button").click();
    await page
      .getByRole("dialog")
      .getByText(/in 23 h|in 1 d/)
      .waitFor();
  },
);

await on(
  "a key is disabled, enabled, and revoked after a question, by the keyboard alone",
  admin(),
  async (stage, page) => {
    await stage.button("New key").click();
    await page.getByLabel("Name", { exact: true }).fill("short-lived");
    await stage.button("Create key").click();
    const secret = await keepSecret(stage, page);
    const press = async (name) => {
      await stage.button(name).focus();
      await page.keyboard.press("Enter");
    };
    await row(page, "short-lived").getByRole("button").press("Enter");
    await press("Disable");
    await page.getByRole("dialog").getByText("Disabled", { exact: true }).first().waitFor();
    assert.equal(await call(secret), 401);
    await press("Enable");
    await page.getByRole("dialog").getByText("Active", { exact: true }).waitFor();
    await press("Revoke");
    await page.getByText("Revoke short-lived?").waitFor();
    const focused = await page.evaluate(() => document.activeElement.textContent);
    assert.equal(focused, "Keep the key", "the harmless button has the focus");
    await findsNothing(page);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "short-lived" }).waitFor();
    assert.equal(await call(secret), 200);
    await press("Revoke");
    await page.getByLabel("End its running calls too").press("Space");
    await press("Revoke for ever");
    await page.getByRole("dialog").getByText("Revoked", { exact: true }).first().waitFor();
    assert.equal(await call(secret), 401);
    assert.equal(await stage.button("Rotate").count(), 0);
    await press("Delete");
    await press("Delete");
    await closed(page);
    await page.waitForFunction(
      () => !document.querySelector(".keys-table").textContent.includes("short-lived"),
    );
  },
);

await on("keys are found by name and by state", admin(), async (stage, page) => {
  await row(page, "root").waitFor();
  await page.getByLabel("Find keys by name").fill("SEARCH");
  await page.waitForFunction(() => document.querySelectorAll(".keys-table tbody tr").length === 1);
  await page.getByLabel("State of the keys").selectOption("4");
  await page.getByText("No key fits").waitFor();
});

await on("a viewer's key reads all and changes nothing", admin(), async (stage, page) => {
  await stage.button("New key").click();
  await page.getByLabel("Name", { exact: true }).fill("watcher");
  await page.getByLabel("For", { exact: true }).selectOption("3");
  await stage.button("Create key").click();
  secrets.watcher = await keepSecret(stage, page);
  await page.getByRole("button", { name: /^Admin key/ }).click();
  await page.getByLabel("Key", { exact: true }).fill(secrets.watcher);
  await page.keyboard.press("Enter");
  await stage.button("New key").waitFor({ state: "detached" });
  await row(page, "search-app").getByRole("button").click();
  await page.getByText("Your key may read keys and usage, and change nothing.").waitFor();
  assert.equal(await stage.button("Revoke").count(), 0);
});

await on(
  "a caller without an admin key sees its own key and usage",
  { keys: { [SLOTS.calls]: "" } },
  async (stage, page) => {
    await page.evaluate(
      ([slot, key]) => sessionStorage.setItem(slot, key),
      [SLOTS.calls, secrets.search],
    );
    await page.reload();
    await page.getByRole("heading", { name: "search-app" }).waitFor();
    const text = await page.locator(".keys-view").innerText();
    for (const part of ["100K tokens a day", "left", "renews in", "1,200 calls a minute"])
      assert.ok(text.includes(part), part);
    await findsNothing(page);
    await page.getByText("My usage").click();
    await page.locator(".totals").waitFor();
    assert.equal(await page.getByRole("region", { name: "By key" }).count(), 0);
    await stage.button("Enter an admin key").click();
    await page.getByLabel("Key", { exact: true }).fill(secrets.search);
    await page.keyboard.press("Enter");
    await page.getByText("Your admin key is for calls of models and manages nothing").waitFor();
  },
);

await check("an administration with an address of its own is explained", async () => {
  const other = await start([
    "serve",
    "--emulator",
    "--listen",
    "127.0.0.1:0",
    "--admin-listen",
    "127.0.0.1:0",
  ]);
  const stage = await openKeys(browser, other.url);
  await stage.page.getByText("has an address of its own").waitFor();
  await stage.page.getByText("Callers are known as “everyone”").waitFor();
  await findsNothing(stage.page);
  await stage.close();
  await other.stop();
});

for (const colorScheme of ["light", "dark"]) {
  for (const viewport of [WIDE, PHONE]) {
    const kind = `${colorScheme}, ${viewport.width} pixels`;
    await check(`axe finds nothing in keys and usage: ${kind}`, async () => {
      const stage = await openKeys(browser, url, { ...admin(), colorScheme, viewport });
      const { page } = stage;
      const fits = async () => {
        await findsNothing(page);
        const isWide = await page
          .locator(".view:not([hidden])")
          .evaluate((view) => view.scrollWidth > view.clientWidth);
        assert.equal(isWide, false, "nothing is wider than the screen");
      };
      await row(page, "search-app").waitFor();
      await fits();
      await row(page, "search-app").getByRole("button").click();
      await page.getByRole("dialog").waitFor();
      await fits();
      await stage.button("Change").click();
      await page.getByLabel("Calls a minute").waitFor();
      await fits();
      await page.keyboard.press("Escape");
      await stage.button("Close").click();
      await usage(stage, page);
      await fits();
      await stage.close();
    });
  }
}

await on(
  "nothing of a secret is in an address or in the storage of the browser",
  admin(),
  async (stage, page) => {
    await row(page, "root").waitFor();
    const kept = await page.evaluate(() =>
      [location.href, JSON.stringify({ ...localStorage }), document.cookie].join(" "),
    );
    for (const secret of Object.values(secrets)) assert.ok(!kept.includes(secret));
  },
);

await on("a page of keys is loaded once, however often it is asked for", admin(), async (_, page) => {
  const rows = page.locator(".keys-table tbody tr");
  await rows.first().waitFor();
  const before = await rows.count();
  await Promise.all(
    Array.from({ length: 101 }, (_, at) => createKey(url, `many ${at}`, "INFERENCE", secrets.root)),
  );
  await page.reload();
  await page.getByText("Show more keys").waitFor();
  const asked = [];
  page.on("request", (request) => asked.push(request));
  await page.getByText("Show more keys").evaluate((more) => {
    more.click();
    more.click();
  });
  await page.getByText("Show more keys").waitFor({ state: "detached" });
  await Promise.all(asked.map(async (request) => (await request.response())?.finished()));
  await page.waitForFunction(() => document.querySelectorAll(".keys-table tbody tr").length > 100);
  assert.equal(await rows.count(), before + 101);
});

await browser.close();
stopAll();
