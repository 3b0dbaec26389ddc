// What goes back to a model as its own answer is what the model said.

import assert from "node:assert/strict";
import { checksOn, openBrowser } from "./stage.mjs";
import { answersWith, nextCall } from "./streams.mjs";

const PAGE = process.env.FEATHERWIRE_PLAYGROUND_URL;
/** An image of one dot. */
const DOT =
  "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

const browser = await openBrowser();
const on = checksOn(browser, PAGE);

/** The messages that follow an answer of these pieces, and a text. */
async function after(stage, page, deltas, say = () => stage.ask("And now?")) {
  await stage.ready();
  await answersWith(page, deltas);
  await stage.ask("Begin");
  await stage.ends();
  await page.unrouteAll();
  const [call] = await Promise.all([nextCall(page), say()]);
  return call.messages;
}

const tool = (id, index, name, text) => ({
  ...(id && { id }),
  ...(index !== undefined && { index }),
  type: "function",
  function: { ...(name && { name }), arguments: text },
});

const fill = (page, results) => async () => {
  for (const [index, result] of results.entries()) {
    const call = page.locator(".calls details").nth(index);
    await call.locator("summary").click();
    await call.getByRole("textbox").fill(result);
  }
  await page.getByRole("button", { name: /Send the results?/ }).click();
};

for (const [kind, pieces] of [
  [
    "without ids, by their indexes",
    [
      tool("", 0, "first", '{"a"'),
      tool("", 1, "second", '{"b"'),
      tool("", 0, "", ":1}"),
      tool("", 1, "", ":2}"),
    ],
  ],
  [
    "with indexes from 1",
    [
      tool("x", 1, "first", '{"a"'),
      tool("y", 2, "second", '{"b"'),
      tool("", 1, "", ":1}"),
      tool("", 2, "", ":2}"),
    ],
  ],
  [
    "with the same index and other ids",
    [
      tool("x", 0, "first", '{"a"'),
      tool("", 0, "", ":1}"),
      tool("y", 0, "second", '{"b"'),
      tool("", 0, "", ":2}"),
    ],
  ],
  [
    "with names in pieces",
    [
      tool("x", 0, "fi", ""),
      tool("", 0, "rst", '{"a":1}'),
      tool("y", 1, "second", '{"b":'),
      tool("y", 1, "second", "2}"),
    ],
  ],
]) {
  await on(`two calls ${kind} are two calls`, {}, async (stage, page) => {
    const deltas = pieces.map((piece) => ({ toolCalls: [piece] }));
    const messages = await after(stage, page, deltas, fill(page, ["one", "two"]));
    const calls = messages[1].tool_calls.map((call) => [call.function.name, call.function.arguments]);
    assert.deepEqual(calls, [
      ["first", '{"a":1}'],
      ["second", '{"b":2}'],
    ]);
    assert.deepEqual(
      messages.slice(2).map(({ tool_call_id, content }) => [tool_call_id, content]),
      messages[1].tool_calls.map(({ id }, index) => [id ?? "", ["one", "two"][index]]),
    );
  });
}

await on("the emulator's two calls with one index are two calls", {}, async (stage, page) => {
  await stage.ready();
  await stage.choose("emulator/same-index-calls");
  const tools = await stage.unfold("Tools");
  const names = ["get_weather", "get_time"];
  await tools.getByRole("textbox").fill(JSON.stringify(names.map((name) => ({ name }))));
  await stage.ask("What is the weather, and the time?");
  const answer = await stage.ends();
  assert.deepEqual(await answer.locator(".calls summary .fold-title").allInnerTexts(), names);
});

await on("a call of a custom tool goes back as one", {}, async (stage, page) => {
  const custom = { id: "c", type: "custom", custom: { name: "sql", input: "select 1" } };
  const messages = await after(stage, page, [{ toolCalls: [custom] }], fill(page, ["1"]));
  assert.deepEqual(messages[1].tool_calls, [custom]);
  assert.equal(messages[2].tool_call_id, "c");
});

await on("a function call of the older form goes back as one", {}, async (stage, page) => {
  const messages = await after(
    stage,
    page,
    [{ functionCall: { name: "f", arguments: "{" } }, { functionCall: { arguments: "}" } }],
    fill(page, ["1"]),
  );
  assert.deepEqual(messages[1].function_call, { name: "f", arguments: "{}" });
  assert.deepEqual(messages[2], { role: "function", name: "f", content: "1" });
});

await on("a refusal is shown, and goes back", {}, async (stage, page) => {
  const messages = await after(stage, page, [{ refusal: "I will " }, { refusal: "not." }]);
  assert.deepEqual(
    messages.map(({ role }) => role),
    ["user", "assistant", "user"],
  );
  assert.equal(messages[1].refusal, "I will not.");
  await page.locator(".answer").first().getByText("I will not.").waitFor();
});

for (const member of ["reasoning", "reasoning_content"]) {
  await on(`thoughts go back in the member ${member}`, {}, async (stage, page) => {
    const messages = await after(stage, page, [{ [member]: "Hm." }, { content: "Yes." }]);
    assert.deepEqual(messages[1], { role: "assistant", content: "Yes.", [member]: "Hm." });
  });
}

await on("thoughts in both members are shown once", {}, async (stage, page) => {
  await stage.ready();
  await answersWith(page, [{ reasoning: "Hm.", reasoning_content: "Hm." }, { content: "Yes." }]);
  await stage.ask("Begin");
  await stage.ends();
  await stage.answer.getByText("Thoughts").click();
  assert.equal((await stage.text(".thought")).trim(), "Hm.");
});

await on("an image of a model is shown, and goes back as an image", {}, async (stage, page) => {
  const image = { type: "image_url", image_url: { url: DOT } };
  const messages = await after(stage, page, [
    { content: "Here: " },
    { content_parts: [image] },
    { content: "Good?" },
  ]);
  await page.locator(".answer img").first().waitFor();
  assert.deepEqual(messages[1].content_parts, [
    { type: "text", text: "Here: " },
    image,
    { type: "text", text: "Good?" },
  ]);
  await page.reload();
  await page.locator(".answer img").first().waitFor();
});

await browser.close();
