// The view of keys and usage, for its suites.

import { Stage } from "./stage.mjs";

export const SMALL = "meta-llama/Meta-Llama-3.1-8B-Instruct";
export const MIDDLE = "google/gemma-2-27b-it";

/** Where the page keeps its keys. */
export const SLOTS = { admin: "featherwire.admin-key", calls: "featherwire.key" };

/** Opens the view with these keys, by their slots. */
export async function openKeys(browser, at, { keys = {}, ...options } = {}) {
  const stage = await Stage.open(browser, at, { ...options, hash: "#/keys" });
  if (Object.keys(keys).length > 0) {
    await stage.page.evaluate(
      (keys) => Object.entries(keys).forEach(([name, key]) => sessionStorage.setItem(name, key)),
      keys,
    );
    await stage.page.reload();
  }
  return stage;
}

/** The row of the key with this name. */
export const row = (page, name) =>
  page.locator(".keys-table tbody tr", { has: page.getByRole("button", { name, exact: true }) });

/** Asks a model, and returns the status. */
export async function call(url, key, model = SMALL) {
  const reply = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${key}` },
    body: JSON.stringify({
      model,
      messages: [{ role: "user", content: "Say hello" }],
      max_tokens: 50,
    }),
  });
  await reply.text();
  return reply.status;
}

/** Creates a key without the page, and returns its secret. */
export async function createKey(url, name, role, admin) {
  const headers = { "Content-Type": "application/json" };
  if (admin) headers.Authorization = `Bearer ${admin}`;
  const body = JSON.stringify({ name, role });
  const reply = await fetch(`${url}/admin/v1/keys`, { method: "POST", headers, body });
  return (await reply.json()).secret;
}

/** Waits until the last dialog is gone. */
export const closed = (page) => page.waitForFunction(() => !document.querySelector("dialog[open]"));

/** Waits until the sums have this many calls: they are in the database a moment after their end. */
export async function usage(stage, page, calls = 1) {
  await page.getByText("Usage", { exact: true }).click();
  await page.locator(".totals").waitFor();
  await page.waitForFunction(
    (calls) => {
      const shown = Number(document.querySelector(".totals strong").textContent);
      if (shown >= calls) return true;
      [...document.querySelectorAll("button")]
        .find((button) => button.textContent.includes("Refresh"))
        .click();
      return false;
    },
    calls,
    { polling: 300 },
  );
}

export const total = (page, words) =>
  page.locator(".totals > div", { hasText: words }).locator("strong").innerText();
