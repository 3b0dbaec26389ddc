// Conversations of the playground: branches, comparisons, files, and what goes wrong with them.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { KEY, URL as KEYED, words } from "../node/checks.mjs";
import { checksOn, openBrowser } from "./stage.mjs";
import { answersWith } from "./streams.mjs";

const PAGE = process.env.FEATHERWIRE_PLAYGROUND_URL;
const LARGE = "Qwen/Qwen2.5-72B-Instruct";

const browser = await openBrowser();
const on = checksOn(browser, PAGE);

await on(
  "Escape stops an answer, keeps what has arrived, and frees the units",
  {},
  async (stage, page) => {
    await stage.ready();
    await stage.choose(LARGE);
    await stage.ask("Tell me a long story");
    await stage.answer.locator(".markdown").waitFor();
    await page.keyboard.press("Escape");
    const stopped = await stage.ends("stopped");
    assert.ok(words(await stopped.locator(".markdown").innerText()) > 0);
    await stopped.getByText("stopped by you").waitFor();
    await page.waitForFunction(() =>
      /0\/8/.test(document.querySelector(".meter-text")?.textContent),
    );
  },
);

await on(
  "a retry and an edit are branches between which one can switch",
  {},
  async (stage, page) => {
    await stage.ready();
    const first = await stage.asks("repeat after me: alpha");
    await stage.button("Another answer").click();
    await stage.answer.getByText("2 / 2").waitFor();
    await stage.ends();
    await stage.answer.getByRole("button", { name: "Earlier version" }).click();
    await stage.answer.getByText("1 / 2").waitFor();
    await page.locator(".prompt").hover();
    await stage.button("Edit the prompt").click();
    const edit = page.getByLabel("Edit the prompt");
    await edit.fill("repeat after me: beta");
    await edit.press("Enter");
    await page.locator(".markdown", { hasText: "beta" }).waitFor();
    const prompt = page.locator(".prompt");
    await prompt.getByText("2 / 2").waitFor();
    await prompt.getByRole("button", { name: "Earlier version" }).click();
    await page.locator(".markdown", { hasText: first }).waitFor();
    assert.equal(await page.locator(".markdown", { hasText: "beta" }).count(), 0);
  },
);

await on("two models answer one prompt side by side", {}, async (stage, page) => {
  await stage.ready();
  await stage.button("Compare").click();
  await stage.chooseIn(LARGE);
  await stage.ask("Tell me a story");
  await page.waitForFunction(
    () => document.querySelectorAll(".answer[data-state=done]").length === 2,
  );
  const heads = await page.locator(".answer-head h2").allInnerTexts();
  assert.equal(heads[1], LARGE.split("/")[1]);
  assert.notEqual(heads[0], heads[1]);
  await page.getByRole("button", { name: "Close Qwen2.5-72B-Instruct" }).click();
  assert.equal(await page.locator(".conversation").count(), 1);
  assert.equal(await page.locator(".answer-head h2").innerText(), heads[0]);
});

await on(
  "a call that waits for units says so, and afterwards for how long",
  {},
  async (stage, page) => {
    await stage.ready();
    const abort = new AbortController();
    const call = () =>
      fetch(`${PAGE}/v1/chat/completions`, {
        method: "POST",
        signal: abort.signal,
        headers: { "content-type": "application/json" },
        body: JSON.stringify({
          model: LARGE,
          stream: true,
          messages: [{ role: "user", content: "count to 100000" }],
        }),
      });
    await Promise.all([call(), call()]);
    try {
      await stage.ask("repeat after me: at last");
      await page.getByText(/1st in the queue for 1 unit/).waitFor();
      await page.getByText("1 waiting").waitFor();
    } finally {
      // Other checks need the units.
      abort.abort();
    }
    await stage.ends();
    assert.match((await stage.text(".stats")).replaceAll("\n", " "), /[\d.]+\s+s in the queue/);
  },
);

await on("a screen reader hears two answers one after the other", {}, async (stage, page) => {
  await stage.ready();
  await page.evaluate(() => {
    window.heard = [];
    const status = document.querySelector(".unseen[role=status]");
    new MutationObserver(() => window.heard.push(status.textContent)).observe(status, {
      childList: true,
      characterData: true,
      subtree: true,
    });
  });
  await stage.button("Compare").click();
  await stage.chooseIn(LARGE);
  const words = Array.from({ length: 150 }, (_, at) => `word${at}`).join(" ");
  await stage.ask(`repeat after me: ${words}`);
  const ends = ({ heard }) => heard.filter((text) => text.endsWith("word149")).length === 2;
  // The pauses between the pieces alone are longer than half of the usual patience.
  const patience = { timeout: 120_000 };
  await page.waitForFunction(ends, await page.evaluateHandle(() => window), patience);
  const heard = await page.evaluate(() => window.heard);
  assert.ok(heard.length > 2, "a text without an end of a sentence is told in pieces");
  const told = {};
  let name = "";
  for (const text of heard) {
    const [, speaker, piece] = /^(?:([\w.-]+): )?([^]*)$/.exec(text);
    name = speaker ?? name;
    told[name] = told[name] ? `${told[name]} ${piece}` : piece;
  }
  assert.equal(Object.keys(told).length, 2, heard.join("|"));
  for (const text of Object.values(told)) assert.equal(text, words);
});

await on("the call of a pane that is closed ends", {}, async (stage, page) => {
  await stage.ready();
  await stage.button("Compare").click();
  await stage.chooseIn(LARGE);
  await stage.ask("count to 100000");
  await page.waitForFunction(
    () => document.querySelectorAll(".answer[data-state=streaming]").length === 2,
  );
  await page.getByRole("button", { name: "Close Qwen2.5-72B-Instruct" }).click();
  await page.waitForFunction(() =>
    /1\/8/.test(document.querySelector(".meter-text")?.textContent),
  );
  assert.equal(await stage.answer.getAttribute("data-state"), "streaming");
  await page.keyboard.press("Escape");
  await stage.ends("stopped");
});

await on("an answer goes on while the page draws no frames", {}, async (stage, page) => {
  await stage.ready();
  await page.evaluate(() => (window.requestAnimationFrame = () => 1));
  await stage.ask("count to 100000");
  const answer = page.locator(".answer[data-state=streaming] .markdown");
  await answer.getByText("5").first().waitFor();
  await page.keyboard.press("Escape");
  await stage.ends("stopped");
});

await on("a reload keeps also what has arrived and is not drawn", {}, async (stage, page) => {
  await stage.ready();
  await page.evaluate(() => {
    window.requestAnimationFrame = () => 1;
    window.setTimeout = () => 1;
    window.arrived = 0;
    const ask = window.fetch;
    window.fetch = async (...given) => {
      const response = await ask(...given);
      const [seen, body] = response.body.tee();
      void seen.pipeTo(new WritableStream({ write: () => void (window.arrived += 1) }));
      return new Response(body, response);
    };
  });
  await stage.ask("count to 100000");
  await page.waitForFunction(() => window.arrived > 20, null, { polling: 50 });
  await page.reload();
  const cut = await stage.ends("cut");
  assert.match(await cut.locator(".markdown").innerText(), /1\D+2\D+3/);
});

await on("a key of a text that is composed does nothing else", {}, async (stage, page) => {
  await stage.ready();
  await stage.ask("count to 100000");
  await page.locator(".answer[data-state=streaming]").waitFor();
  const press = (init) =>
    page
      .locator("#prompt")
      .evaluate(
        (area, init) =>
          area.dispatchEvent(new KeyboardEvent("keydown", { bubbles: true, ...init })),
        init,
      );
  await press({ key: "Escape", isComposing: true });
  await press({ key: "Escape", keyCode: 229 });
  const text = await stage.answer.locator(".markdown").innerText();
  await page.waitForFunction(
    (before) => document.querySelector(".answer .markdown").innerText.length > before + 50,
    text.length,
  );
  assert.equal(await stage.answer.getAttribute("data-state"), "streaming");
  await page.keyboard.press("Escape");
  await stage.ends("stopped");
  await page.locator("#prompt").fill("typed");
  await press({ key: "Enter", keyCode: 229 });
  assert.equal(await page.locator("#prompt").inputValue(), "typed");
});

await on("a new conversation frees the raw events of the old one", {}, async (stage, page) => {
  await stage.ready();
  const devtools = await stage.context.newCDPSession(page);
  // All live objects, after a collection of garbage.
  const kept = async () => {
    const { result } = await devtools.send("Runtime.evaluate", { expression: "Object.prototype" });
    const group = { objectGroup: "live" };
    const { objects } = await devtools.send("Runtime.queryObjects", {
      prototypeObjectId: result.objectId,
      ...group,
    });
    const count = await devtools.send("Runtime.callFunctionOn", {
      objectId: objects.objectId,
      returnByValue: true,
      functionDeclaration: `function () {
        return this.filter((live) => live.$typeName === "featherwire.v1.ChatDelta").length;
      }`,
    });
    await devtools.send("Runtime.releaseObjectGroup", group);
    return count.result.value;
  };
  await answersWith(page, Array(4_000).fill({ content: "", extra: { a: "1", b: "2" } }));
  await stage.ask("Begin");
  await stage.ends();
  assert.equal(await kept(), 4_000);
  await stage.button("New conversation").click();
  await page.getByText("Ask any model of Featherless").waitFor();
  assert.equal(await kept(), 0);
});

await on("the raw events of a stream are shown and copied", {}, async (stage, page) => {
  await stage.ready();
  await stage.asks("repeat after me: one two three");
  await stage.button("Raw events").click();
  const list = page.locator(".events-list");
  await list.waitFor();
  assert.match(await list.innerText(), /"usage":[^]*"featherwire":\{"model_asked"/);
  await stage.button("Copy all events").click();
  await stage.button("Copied").waitFor();
  const lines = (await page.evaluate(() => navigator.clipboard.readText())).split("\n");
  assert.equal(lines.length, await list.locator("li").count());
  assert.ok(lines.every((line) => JSON.parse(line).id));
  await page.keyboard.press("Escape");
  await list.waitFor({ state: "detached" });
});

await on("a conversation is exported, and imported as it was", {}, async (stage, page) => {
  await stage.ready();
  await page.getByLabel("System prompt").fill("Be kind");
  await stage.asks("repeat after me: keep this");
  await stage.button("Another answer").click();
  await stage.answer.getByText("2 / 2").waitFor();
  await stage.ends();
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    stage.button("Export the conversation").click(),
  ]);
  const file = await readFile(await download.path());
  await stage.button("New conversation").click();
  await page.getByText("Ask any model of Featherless").waitFor();
  const give = (buffer) =>
    page
      .getByLabel("Conversation file")
      .setInputFiles({ name: "kept.json", mimeType: "application/json", buffer });
  await give(Buffer.from('{"form": "other"}'));
  await page
    .getByText("kept.json was not imported. This is not a conversation of Featherwire.")
    .waitFor();
  await give(file);
  await page.locator(".markdown", { hasText: "keep this" }).waitFor();
  await stage.answer.getByText("2 / 2").waitFor();
  assert.equal(await page.getByLabel("System prompt").inputValue(), "Be kind");
});

await on("an error says what happened and what to do", {}, async (stage, page) => {
  await stage.ready();
  await stage.choose("emulator/gated");
  await stage.ask("Hello");
  await stage.ends("failed");
  const problem = page.getByRole("alert");
  assert.match(
    await problem.innerText(),
    /licence is not accepted[^]*Accept the licence[^]*MODEL_GATED/,
  );
  assert.match(await problem.getByRole("link").getAttribute("href"), /^https:/);
  assert.equal(
    await stage.button("Try again").count(),
    0,
    "a retry without a change cannot succeed",
  );
  await stage.choose("no/such-model");
  await stage.ask("Hello");
  await page.getByText("There is no such model").waitFor();
});

await on("an error that passes tells when to try again", {}, async (stage, page) => {
  await stage.ready();
  await stage.choose("emulator/429-rate-limit-retry-after-7");
  await stage.ask("Hello");
  await stage.ends("failed");
  await page.getByRole("button", { name: /Try again \(best in \d+ s\)/ }).waitFor();
});

await on(
  "an answer that is cut keeps what has arrived, and can be asked for again",
  {},
  async (stage, page) => {
    await stage.ready();
    await stage.choose("emulator/cut-after-5");
    await stage.ask("Tell me a story");
    const cut = await stage.ends("cut");
    assert.ok(words(await cut.locator(".markdown").innerText()) >= 3);
    assert.match(await cut.innerText(), /cut: not complete[^]*The answer was cut off/);
    await stage.choose("meta-llama/Meta-Llama-3.1-8B-Instruct");
    await stage.button("Try again").click();
    await stage.ends();
    await stage.answer.getByText("2 / 2").waitFor();
  },
);

await on(
  "a reload in mid-stream keeps the conversation, marked as cut",
  {},
  async (stage, page) => {
    await stage.ready();
    await stage.ask("Tell me a long story");
    await stage.answer.locator(".markdown").waitFor();
    await page.locator("#prompt").fill("not sent yet");
    await page.reload();
    const cut = await stage.ends("cut");
    assert.ok(words(await cut.locator(".markdown").innerText()) > 0);
    await cut.getByText("The page was closed before the answer ended").waitFor();
    assert.equal(await page.locator("#prompt").inputValue(), "not sent yet");
    const places = await page.evaluate(() => [localStorage.length, document.cookie, location.href]);
    assert.deepEqual(places, [0, "", `${PAGE}/`]);
  },
);

await on(
  "without a network the page says so, and goes on when it is back",
  {},
  async (stage, page) => {
    await stage.ready();
    await stage.context.setOffline(true);
    await stage.ask("repeat after me: back again");
    await stage.ends("failed");
    assert.match(await stage.answer.innerText(), /The gateway does not answer[^]*you are online/);
    await stage.context.setOffline(false);
    await stage.button("Try again").click();
    await page.locator(".markdown", { hasText: "back again" }).waitFor();
  },
);

await on(
  "a gateway with keys asks for one, which stays in this tab",
  { url: KEYED },
  async (stage, page) => {
    const dialog = page.getByRole("dialog");
    await dialog.getByText("answers only calls with a key").waitFor();
    await dialog.getByLabel("Key").fill("gw_wrong");
    await dialog.getByLabel("Key").press("Enter");
    await dialog.getByText("answers only calls with a key").waitFor({ state: "hidden" });
    await page.getByRole("dialog").locator(".notice").waitFor();
    await dialog.getByLabel("Key").fill(KEY);
    await dialog.getByLabel("Key").press("Enter");
    await stage.ready();
    assert.equal(await stage.asks("repeat after me: with a key"), "with a key");
    const kept = await page.evaluate(() =>
      [JSON.stringify(localStorage), location.href, document.cookie].join(),
    );
    assert.ok(!kept.includes(KEY));
    assert.equal(await page.evaluate(() => sessionStorage.getItem("featherwire.key")), KEY);
    await stage.button("Copy as code").click();
    const code = await stage.text(".snippet-text");
    assert.ok(code.includes("$FEATHERWIRE_KEY") && !code.includes(KEY));
  },
);

await on("the keyboard alone reaches every part of the chat", {}, async (stage, page) => {
  await stage.ready();
  const reached = new Set();
  for (let step = 0; step < 40; step += 1) {
    await page.keyboard.press("Tab");
    reached.add(
      await page.evaluate(() => {
        const element = document.activeElement;
        const outline = getComputedStyle(element);
        if (outline.outlineStyle === "none" && !element.matches("#prompt, body"))
          return `unseen: ${element.outerHTML}`;
        return element.getAttribute("aria-label") ?? element.innerText.trim().split("\n")[0];
      }),
    );
  }
  for (const name of [
    "Skip to the content",
    "Units",
    "Import a conversation",
    "Settings",
    "Prompt",
    "Copy as code",
  ]) {
    assert.ok(reached.has(name), `${name} in ${[...reached]}`);
  }
  assert.deepEqual(
    [...reached].filter((name) => name.startsWith("unseen")),
    [],
  );
  await page.locator("#prompt").fill("first");
  await page.locator("#prompt").press("Shift+Enter");
  assert.equal(await page.locator("#prompt").inputValue(), "first\n");
});

await browser.close();
