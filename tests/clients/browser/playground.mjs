// The chat of the playground: what a person clicks and types, and what becomes visible.

import assert from "node:assert/strict";
import { checksOn, openBrowser, PHONE } from "./stage.mjs";

const PAGE = process.env.FEATHERWIRE_PLAYGROUND_URL;
const VISION = "Qwen/Qwen2.5-VL-72B-Instruct";
/** The first paint, in milliseconds. */
const PAINT_MS_MAX = 500;
/** A dot of one pixel. */
const DOT =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

const browser = await openBrowser();
const on = checksOn(browser, PAGE);

await on("the first sight is painted at once, and a model is chosen", {}, async (stage, page) => {
  await stage.ready();
  const paint = await page.evaluate(
    () => performance.getEntriesByName("first-contentful-paint")[0].startTime,
  );
  assert.ok(paint < PAINT_MS_MAX, `painted after ${paint} ms`);
  assert.match(await stage.text(".model-button"), /loaded\s+1 unit\s+\d+K context/);
  assert.equal(
    await page.locator("#prompt").evaluate((area) => area === document.activeElement),
    true,
  );
});

await on(
  "all 22,000 models are found, by page and by text, with the keyboard alone",
  {},
  async (stage, page) => {
    await stage.ready();
    await page.keyboard.press("Control+k");
    const total = page.locator(".search-total");
    await page.waitForFunction(() =>
      /2\d,\d{3} models/.test(document.querySelector(".search-total")?.textContent),
    );
    const options = page.getByRole("option");
    await page.waitForFunction(() => document.querySelectorAll("[role=option]").length === 50);
    for (let step = 0; step < 46; step += 1) await page.keyboard.press("ArrowDown");
    await page.waitForFunction(() => document.querySelectorAll("[role=option]").length === 100);
    await page.getByRole("combobox").fill("coder-32b");
    await page.waitForFunction(() => document.querySelectorAll("[role=option]").length < 50);
    const first = (await options.first().locator(".model-name").innerText()).trim();
    assert.match(first, /coder-32b/i);
    assert.doesNotMatch(await total.innerText(), /^22/);
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => !document.querySelector("dialog[open]"));
    assert.match(await stage.text(".model-button"), /coder-32b/i);
    const id = await page.evaluate(() => document.activeElement?.className);
    assert.match(id, /model-button|^$/, "the focus comes back from the search");
  },
);

await on("Enter before the search has ended waits for it", {}, async (stage, page) => {
  await stage.ready();
  let release;
  const released = new Promise((resolve) => (release = resolve));
  await page.keyboard.press("Control+k");
  await page.waitForFunction(() => document.querySelectorAll("[role=option]").length === 50);
  await page.route("**/featherwire.v1.ModelService/ListModels", async (route) => {
    await released;
    await route.continue();
  });
  const search = page.getByRole("combobox");
  await search.fill("coder-32b");
  await search.press("Enter");
  await page.locator("#model-list[aria-busy=true]").waitFor();
  assert.equal(await page.locator("dialog[open]").count(), 1);
  release();
  await page.waitForFunction(() => !document.querySelector("dialog[open]"));
  assert.match(await stage.text(".model-button"), /coder-32b/i);
});

await on("the list of models has an end, where a search is better", {}, async (stage, page) => {
  await stage.ready();
  await page.keyboard.press("Control+k");
  const list = page.locator("#model-list");
  const ends = page.getByText("search instead, 500 are shown");
  while ((await ends.count()) === 0 && (await list.getByRole("option").count()) <= 500) {
    await list.evaluate((list) => (list.scrollTop = list.scrollHeight));
    await page.locator("#model-list[aria-busy=false]").waitFor();
  }
  await list.evaluate((list) => (list.scrollTop = list.scrollHeight));
  assert.equal(await list.getByRole("option").count(), 500);
});

await on(
  "facts of a model are shown: licence, plan, and whether it is loaded",
  {},
  async (stage, page) => {
    await stage.ready();
    await page.keyboard.press("Control+k");
    const shows = async (search, fact) => {
      await page.getByRole("combobox").fill(search);
      await page
        .locator("[role=option]", { hasText: search })
        .getByText(fact, { exact: true })
        .first()
        .waitFor();
    };
    const lacks = (fact) =>
      page.waitForFunction(
        (fact) => !document.querySelector("#model-list")?.textContent.includes(fact),
        fact,
      );
    await shows("Merge-Slerp", "16K context");
    await shows("Merge-Slerp", "loaded");
    await shows("Merge-Slerp", "not on plan");
    await page.getByLabel("On the plan").check();
    await lacks("not on plan");
    await shows("gemma-2-27b-it", "licence");
    await page.getByLabel("Without a licence").check();
    await lacks("licence");
  },
);

await on(
  "an answer streams with its numbers, and ends with the gateway's report",
  {},
  async (stage, page) => {
    await stage.ready();
    await stage.ask("Tell me a long story");
    await page.waitForFunction(() =>
      /tokens\/s/.test(document.querySelector(".stats")?.textContent),
    );
    const live = await stage.text(".stats");
    for (const number of [
      /≈ \d+\s+tokens/,
      /[\d.]+\s+tokens\/s/,
      /[\d.]+\s+s to first/,
      /1\s+unit held/,
    ]) {
      assert.match(live.replaceAll("\n", " "), number);
    }
    await page.waitForFunction(() =>
      /[1-8]\/8/.test(document.querySelector(".meter-text")?.textContent),
    );
    await stage.ends();
    const end = (await stage.text(".stats")).replaceAll("\n", " ");
    assert.match(end, /^\D*\d{3}\s+tokens/);
    assert.doesNotMatch(end, /≈|unit held/);
    assert.match(end, /1\s+unit .*\d+\s+in the prompt/);
    await page.waitForFunction(() =>
      /0\/8/.test(document.querySelector(".meter-text")?.textContent),
    );
  },
);

await on(
  "a first visitor needs two clicks for an answer with a table and code",
  {},
  async (stage, page) => {
    await stage.ready();
    await stage.button("Compare tea and coffee in a table").click();
    await stage.button("Send").click();
    await stage.ends();
    assert.equal(await stage.answer.locator("tbody tr").count(), 3);
    assert.equal(await stage.answer.locator(".code-head span").innerText(), "python");
    assert.equal(await page.locator("#prompt").inputValue(), "");
  },
);

const MARKDOWN = `# Title

**bold** and \`code\`, [a link](https://example.com/x), <b>raw</b>,
![far](https://example.com/a.png)

| a | b |
|---|--:|
| 1 | 2 |

- one
- two

\`\`\`js
const x = 1; // note
\`\`\`

[bad](javascript:alert(1)) &amp; <img src=x onerror=alert(1)>`;

await on("code is coloured before its last text ends", {}, async (stage) => {
  await stage.ready();
  const code = 'def longest():\n    """The longest\nword';
  await stage.asks(`repeat after me: \`\`\`python\n${code}`);
  assert.equal(await stage.answer.locator(".code-text").innerText(), '"""The longest\nword');
});

await on(
  "Markdown becomes elements, and nothing in it becomes a script or loads a file",
  {},
  async (stage, page) => {
    await stage.ready();
    await stage.asks(`repeat after me: ${MARKDOWN}`);
    const box = stage.answer.locator(".markdown");
    for (const [selector, text] of [
      ["h3", "Title"],
      ["strong", "bold"],
      ["p > code", "code"],
      ["th:last-child", "b"],
      ["li:last-child", "two"],
      [".code-word", "const"],
      [".code-comment", "// note"],
    ]) {
      assert.equal(await box.locator(selector).first().innerText(), text, selector);
    }
    assert.equal(
      await box.getByRole("link", { name: "a link" }).getAttribute("href"),
      "https://example.com/x",
    );
    assert.equal(await box.getByRole("link", { name: "bad" }).count(), 0);
    assert.equal(await box.locator("img, b").count(), 0);
    assert.match(await box.innerText(), /<b>raw<\/b>.*\n[^]*bad & <img src=x onerror=alert\(1\)>/);
    await stage.button("Copy the code").click();
    await stage.button("Copied").waitFor();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "const x = 1; // note");
  },
);

await on(
  "images are pasted, dropped and chosen, and the model sees them",
  {},
  async (stage, page) => {
    await stage.ready();
    await stage.choose(VISION);
    const give = (kind, place) =>
      page.locator(place).evaluate(
        (area, [kind, dot]) => {
          const bytes = Uint8Array.from(atob(dot), (char) => char.charCodeAt(0));
          const data = new DataTransfer();
          data.items.add(new File([bytes], `${kind}.png`, { type: "image/png" }));
          const init = { bubbles: true, cancelable: true };
          area.dispatchEvent(
            kind === "paste"
              ? new ClipboardEvent("paste", { ...init, clipboardData: data })
              : new DragEvent("drop", { ...init, dataTransfer: data }),
          );
        },
        [kind, DOT],
      );
    await give("paste", "#prompt");
    await page.getByAltText("paste.png").waitFor();
    await give("drop", ".panes");
    await page.getByAltText("drop.png").waitFor();
    await page.getByLabel("Images", { exact: true }).setInputFiles({
      name: "dot.png",
      mimeType: "image/png",
      buffer: Buffer.from(DOT, "base64"),
    });
    await page.getByAltText("dot.png").waitFor();
    await stage.button("Remove drop.png").click();
    assert.match(await stage.asks("What is there?"), /I can see 2 images/);
    assert.equal(await page.locator(".prompt img").count(), 2);
  },
);

await on(
  "reasoning is folded, from its own member and from a tag in the text",
  {},
  async (stage, page) => {
    await stage.ready();
    for (const model of ["emulator/think", "emulator/think-inline"]) {
      await stage.choose(model);
      const text = await stage.asks("Think well");
      assert.doesNotMatch(text, /<think>|I should be brief/, model);
      await stage.answer.getByText("Thoughts").click();
      await stage.answer.getByText("I should be brief").waitFor();
    }
    assert.equal(await page.locator(".answer").count(), 2);
  },
);

await on(
  "a tool call is folded, and its result goes back to the model",
  {},
  async (stage, page) => {
    await stage.ready();
    await stage.choose("meta-llama/Meta-Llama-3.1-8B-Instruct");
    await stage.unfold("Tools");
    await stage.button("Insert an example").click();
    await stage.ask("Use get_weather for Paris");
    await stage.ends();
    assert.equal(await stage.answer.locator(".code-block").count(), 0, "the call is folded");
    await stage.answer.locator("summary", { hasText: "get_weather" }).click();
    assert.match(await stage.answer.locator(".code-block").innerText(), /"city": "Paris"/);
    await page.getByLabel("Result of get_weather").fill('{"sky": "clear"}');
    await stage.button("Send the result").click();
    await page.getByText('The tool answered: {"sky": "clear"}').waitFor();
    await page.getByLabel("Tools, as a JSON list").fill("[{");
    await page.getByText("Tools: this is not JSON").waitFor();
  },
);

await on("an answer is held to the JSON Schema that was asked for", {}, async (stage, page) => {
  await stage.ready();
  await stage.unfold("Answer as JSON");
  await page.getByLabel("Format").selectOption("json_schema");
  await stage.ask("A city");
  await stage.ends();
  await page.getByText("Valid by the JSON Schema", { exact: false }).waitFor();
  assert.match(await stage.answer.locator(".code-block").innerText(), /"population": \d/);
  await stage.unfold("Parameters");
  await page.getByLabel("Max tokens", { exact: true }).fill("4");
  await stage.button("Another answer").click();
  await page.getByText("Not valid by the JSON Schema").waitFor();
  await page.getByText("ended at the limit of tokens").waitFor();
  await page.getByRole("textbox", { name: "JSON Schema" }).fill("[]");
  await page.getByText("This is not a JSON object.").waitFor();
  const schema =
    '{"properties": {"city": {"type": "string", "maxLength": 3}}, "required": ["country"]}';
  const answer = {
    state: "done",
    model: "a/b",
    content: '{"city": "Paris"}',
    reasoning: "",
    calls: [],
    schema,
  };
  const nodes = { a: { id: "a", parent: "", role: "assistant", children: [] } };
  const panes = [
    { model: "a/b", tree: { nodes, roots: ["a"], shown: {} }, answers: { a: answer } },
  ];
  const buffer = Buffer.from(
    JSON.stringify({ form: "featherwire-conversation", version: 1, panes }),
  );
  const file = { name: "kept.json", mimeType: "application/json", buffer };
  await page.getByLabel("Conversation file").setInputFiles(file);
  await page.getByText("has no country").waitFor();
  await page.getByText("has more than 3 characters").waitFor();
});

await on(
  "parameters and the system prompt are sent, and a value out of range is not",
  {},
  async (stage, page) => {
    await stage.ready();
    await page.getByLabel("System prompt").fill("Be brief");
    await stage.unfold("Parameters");
    await page.getByLabel("Max tokens", { exact: true }).fill("7");
    await page.getByLabel("Answers", { exact: true }).fill("3");
    await stage.ask("Tell me a story");
    const ended = await stage.ends();
    await ended.getByText("ended at the limit of tokens").waitFor();
    await ended.getByText("1 / 3").waitFor();
    await page.getByLabel("Temperature", { exact: true }).fill("3");
    await page.getByText("At most 2.").waitFor();
    await stage.ask("Again");
    await stage.ends("failed");
    assert.match(
      await stage.answer.innerText(),
      /A setting cannot be sent[^]*Temperature: At most 2/,
    );
    await stage.button("Leave Temperature to the model").click();
    await stage.button("Try again").click();
    await stage.ends();
  },
);

await on(
  "a phone of 360 pixels shows all without scrolling sideways",
  { viewport: PHONE },
  async (stage, page) => {
    await stage.ready();
    await stage.asks(`repeat after me: ${MARKDOWN}`);
    // Code and tables may scroll in themselves.
    const wide = () =>
      page.evaluate(() => {
        const parts = document.querySelectorAll(
          "html, header, .chat-bar, .conversation, .settings, .search, .search-list, .composer",
        );
        return [...parts]
          .filter((part) => part.scrollWidth > part.clientWidth)
          .map((part) => part.className);
      });
    assert.deepEqual(await wide(), []);
    await stage.button("Settings").click();
    await stage.unfold("Parameters");
    assert.deepEqual(await wide(), []);
    await stage.button("Close the settings").click();
    await page.locator(".model-button").click();
    await page.getByRole("option").first().waitFor();
    assert.deepEqual(await wide(), []);
  },
);

await browser.close();
