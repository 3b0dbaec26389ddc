// Answers, schemas and files that no page expects: each must leave a page that works.

import assert from "node:assert/strict";
import { checksOn, openBrowser } from "./stage.mjs";

const PAGE = process.env.FEATHERWIRE_PLAYGROUND_URL;

const browser = await openBrowser();
const on = checksOn(browser, PAGE);

/** The page answers another prompt. */
async function works(stage) {
  await stage.button("New conversation").click();
  assert.equal(await stage.asks("repeat after me: still here"), "still here");
}

/** Gives the page a conversation as a file. */
async function give(page, conversation) {
  const buffer = Buffer.from(JSON.stringify(conversation));
  await page
    .getByLabel("Conversation file")
    .setInputFiles({ name: "given.json", mimeType: "application/json", buffer });
}

await on("an answer of a thousand nested quotations arrives", {}, async (stage, page) => {
  await stage.ready();
  await stage.ask(`repeat after me: ${">".repeat(1_000)}x`);
  assert.match(await (await stage.ends()).innerText(), /x/);
  await page.reload();
  await stage.ready();
  assert.match(await stage.answer.innerText(), /x/);
  await works(stage);
});

for (const [name, text] of [
  ["quotations", `${">".repeat(20_000)}x`],
  ["lists", `${"- ".repeat(1_000)}x`],
  ["emphases", `${"*a_".repeat(1_000)}x${"_a*".repeat(1_000)}`],
  ["brackets", `${"[".repeat(2_000)}x${"](y)".repeat(2_000)}`],
]) {
  await on(`nested ${name} are shown`, {}, async (stage, page) => {
    await stage.ready();
    await give(page, file({ state: "done", content: text }));
    assert.match(await stage.answer.locator(".markdown").innerText(), /x/);
    await works(stage);
  });
}

await on("JSON that is nested too deeply to print is shown as it is", {}, async (stage, page) => {
  await stage.ready();
  await give(page, file({ state: "done", content: "[".repeat(60_000), schema: "{}" }));
  await page.getByText("Not valid by the JSON Schema").waitFor();
  await give(
    page,
    file({
      state: "done",
      content: `${"[".repeat(60_000)}${"]".repeat(60_000)}`,
      schema: '{"uniqueItems": true}',
    }),
  );
  await page.getByText("Not checked by the JSON Schema").waitFor();
  await page.getByText("cannot be checked:").waitFor();
  await works(stage);
});

for (const schema of [
  '{"properties": {"zip": null, "city": 5}, "allOf": {}, "$ref": "#/%zz"}',
  '{"required": 1, "enum": 1, "patternProperties": {"(": null}, "if": null, "prefixItems": [null]}',
  '{"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}',
  "not JSON",
]) {
  await on(`an answer is checked by the schema ${schema}`, {}, async (stage, page) => {
    await stage.ready();
    await give(page, file({ state: "done", content: '{"zip": 1, "city": []}', schema }));
    await page.locator(".schema-result").waitFor();
    await works(stage);
  });
}

await on("a pattern that would take for ever does not stop the page", {}, async (stage, page) => {
  await stage.ready();
  const content = JSON.stringify(`${"a".repeat(40)}!`);
  for (const pattern of ["^(a+)+$", "^(a|a)*$"]) {
    await give(page, file({ state: "done", content, schema: JSON.stringify({ pattern }) }));
    await page.locator(".schema-result", { hasText: `does not match ${pattern}` }).waitFor();
  }
  await page.reload();
  await page.getByText("Not valid by the JSON Schema").waitFor();
  const around = JSON.stringify({ pattern: "^(?=a)" });
  await give(page, file({ state: "done", content, schema: around }));
  await page.getByText("Not checked by the JSON Schema").waitFor();
  await page.getByText("cannot be checked: a pattern looks around").waitFor();
  await works(stage);
});

/** A file with one prompt and this answer. */
function file(answer, others = {}) {
  return {
    form: "featherwire-conversation",
    version: 1,
    panes: [
      {
        model: "meta-llama/Meta-Llama-3.1-8B-Instruct",
        tree: {
          nodes: {
            p: { id: "p", parent: "", children: ["a"], role: "user", text: "Hi", pictures: [] },
            a: { id: "a", parent: "p", children: [], role: "assistant" },
          },
          roots: ["p"],
          shown: {},
        },
        answers: { a: answer },
      },
    ],
    ...others,
  };
}

await on("an answer of a file needs no more than its text", {}, async (stage, page) => {
  await stage.ready();
  await give(page, file({ state: "done", content: "from a file" }));
  await page.locator(".markdown", { hasText: "from a file" }).waitFor();
  await works(stage);
});

/** Members of every wrong kind, in every place of a file. */
const WRONG = [null, 5, "x", true, [], [null], [5], {}, { a: null }, { length: 3 }];
const PLACES = [
  (wrong) => file(wrong),
  (wrong) => file({ state: "done", content: "x", calls: wrong, tokens: wrong, report: wrong }),
  (wrong) => file({ state: wrong, content: wrong, reasoning: wrong, refusal: wrong, model: wrong }),
  (wrong) => file({ state: "failed", problem: wrong, finishReason: wrong, schema: wrong }),
  (wrong) =>
    file({ state: "failed", problem: { title: wrong, fields: wrong, links: wrong, retryAt: wrong } }),
  (wrong) =>
    file({
      state: "done",
      report: { tried: wrong, waitedMs: wrong, units: wrong },
      tokens: { prompt: wrong },
      calls: [{ id: wrong, name: wrong, arguments: wrong }],
      sentAt: wrong,
      endedAt: wrong,
      firstAt: wrong,
      pieces: wrong,
    }),
  (wrong) => file({}, { settings: wrong, draft: wrong }),
  (wrong) =>
    file(
      {},
      { settings: { parameters: wrong, tools: wrong, extra: wrong, schema: wrong, system: wrong } },
    ),
  (wrong) => file({}, { settings: { parameters: { temperature: wrong, stop: wrong, n: wrong } } }),
  (wrong) => {
    const given = file({});
    given.panes[0].tree.nodes.p.text = wrong;
    given.panes[0].tree.nodes.p.pictures = wrong;
    return given;
  },
  (wrong) => {
    const given = file({});
    given.panes[0].tree.nodes.a = { role: "tool", results: wrong, children: wrong };
    return given;
  },
  (wrong) => {
    const given = file({});
    given.panes[0].tree.shown = wrong;
    given.panes[0].tree.roots = ["p", wrong, "constructor", "__proto__"];
    return given;
  },
  (wrong) => file({}, { panes: [{ tree: wrong, model: wrong, answers: wrong }] }),
];

await on("no member of a file breaks the page", {}, async (stage, page) => {
  await stage.ready();
  await stage.unfold("Parameters");
  await stage.unfold("Tools");
  for (const [index, place] of PLACES.entries()) {
    for (const wrong of WRONG) {
      const mark = `mark ${index} ${JSON.stringify(wrong)}`;
      await give(page, { ...place(wrong), draft: mark });
      await page.waitForFunction((mark) => document.querySelector("#prompt")?.value === mark, mark);
    }
  }
  assert.equal(await page.getByRole("alert").filter({ hasText: "has failed" }).count(), 0);
  assert.equal(await page.getByText("cannot be shown").count(), 0);
  await give(page, file({}));
  await works(stage);
});

await on("a message that cannot be drawn is shown as plain text", {}, async (stage, page) => {
  await stage.ready();
  await page.evaluate(() => {
    window.words = Number.prototype.toLocaleString;
    Number.prototype.toLocaleString = () => {
      throw new Error("a bug of the page");
    };
  });
  await stage.ask("repeat after me: kept as it is");
  await page.getByText("cannot be shown as it should be (Error: a bug of the page)").waitFor();
  await page.locator(".plain-message", { hasText: "kept as it is" }).waitFor();
  await page.evaluate(() => (Number.prototype.toLocaleString = window.words));
  await works(stage);
});

await on("a conversation of ten thousand messages is read", {}, async (stage, page) => {
  await stage.ready();
  const given = file({});
  const { tree } = given.panes[0];
  for (let index = 0; index < 10_000; index += 1) {
    const children = index < 9_999 ? [`p${index + 1}`] : [];
    tree.nodes[`p${index}`] = { role: "tool", results: [], children };
  }
  tree.nodes.p.children = ["p0"];
  await give(page, given);
  await page.waitForFunction(() => document.querySelectorAll(".results").length === 10_000);
});

await on("tools of a wrong kind are told, in the settings and as code", {}, async (stage, page) => {
  await stage.ready();
  const tools = await stage.unfold("Tools");
  await tools.getByRole("textbox").fill('[{"name": 5}]');
  await tools.getByText("Tools: name is not a string.").waitFor();
  await stage.button("Copy as code").click();
  await page.getByRole("dialog").getByText("Tools: name is not a string.").waitFor();
});

await browser.close();
