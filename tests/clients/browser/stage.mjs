// The playground in a headless Chromium: pages of it, and what a test does on them. Each page fails
// its check if the browser reports a violation of the policy, an error of a script, or a request to
// another host.

import assert from "node:assert/strict";
import { chromium } from "playwright-core";
import { check } from "../node/checks.mjs";

export const WIDE = { width: 1280, height: 800 };
export const PHONE = { width: 360, height: 740 };

export async function openBrowser() {
  return chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });
}

export class Stage {
  #problems = [];

  constructor(page, context) {
    this.page = page;
    this.context = context;
  }

  static async open(browser, url, { viewport = WIDE, colorScheme = "light", hash = "" } = {}) {
    const context = await browser.newContext({ viewport, colorScheme, acceptDownloads: true });
    await context.grantPermissions(["clipboard-read", "clipboard-write"]);
    const page = await context.newPage();
    const stage = new Stage(page, context);
    await context.exposeBinding("violated", (_, text) => stage.#problems.push(text));
    await context.addInitScript(() => {
      addEventListener("securitypolicyviolation", (event) =>
        window.violated(
          `the policy ${event.violatedDirective} was violated by ${event.blockedURI || event.sample}`,
        ),
      );
    });
    page.on("pageerror", (error) => stage.#problems.push(String(error)));
    page.on("request", (request) => {
      const { origin, protocol } = new URL(request.url());
      const isOwn = origin === url || ["data:", "blob:"].includes(protocol);
      if (!isOwn) stage.#problems.push(`a request to ${origin}`);
    });
    await page.goto(`${url}/${hash}`);
    await page.waitForSelector("main .view:not([hidden])");
    return stage;
  }

  /** Ends the page. It fails if something was wrong on it. */
  async close() {
    await this.context.close();
    assert.deepEqual(this.#problems, []);
  }

  button(name) {
    return this.page.getByRole("button", { name, exact: true });
  }

  /** Waits until a model is chosen, as at every first visit. */
  async ready() {
    await this.page.waitForFunction(() => document.querySelector(".model-button .model-state"));
  }

  /** Chooses a model by its id, which the list need not have. */
  async choose(id, pane = 0) {
    await this.page.locator(".model-button").nth(pane).click();
    await this.chooseIn(id);
  }

  /** The same in the search that is open. */
  async chooseIn(id) {
    const { page } = this;
    await page.getByRole("combobox").fill(id);
    await page.waitForFunction((id) => {
      const options = [...document.querySelectorAll("[role=option] .model-name")];
      return options[0]?.textContent === id && document.querySelector("[aria-busy=false]");
    }, id);
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => !document.querySelector("dialog[open]"));
  }

  async ask(text) {
    await this.page.locator("#prompt").fill(text);
    await this.page.locator("#prompt").press("Enter");
  }

  /** The last shown answer. */
  get answer() {
    return this.page.locator(".answer").last();
  }

  /** Waits for an answer in this state. */
  async ends(state = "done") {
    const found = this.page.locator(`.answer[data-state=${state}]`).last();
    await found.waitFor();
    return found;
  }

  /** Asks, and waits for the whole answer. */
  async asks(text) {
    const before = await this.page.locator(".answer").count();
    await this.ask(text);
    await this.page.waitForFunction((before) => {
      const answers = document.querySelectorAll(".answer");
      return answers.length > before && answers[answers.length - 1].dataset.state === "done";
    }, before);
    return this.answer.locator(".markdown").last().innerText();
  }

  /** Opens a fold of the settings. */
  async unfold(title) {
    const fold = this.page.locator(".settings details", {
      has: this.page.getByText(title, { exact: true }),
    });
    await fold.locator("summary").click();
    await fold.locator(".fold-body").waitFor();
    return fold;
  }

  text(selector) {
    return this.page.locator(selector).innerText();
  }
}

/** Checks on pages of their own, in this browser. */
export function checksOn(browser, url) {
  return (name, options, body) =>
    check(name, async () => {
      const stage = await Stage.open(browser, options.url ?? url, options);
      await body(stage, stage.page);
      await stage.close();
    });
}
