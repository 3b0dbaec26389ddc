// The official OpenAI SDK against the REST door.

import assert from "node:assert/strict";
import OpenAI from "openai";
import { KEY, MODEL, URL, check, thrown, words } from "./checks.mjs";

const client = new OpenAI({ baseURL: `${URL}/v1`, apiKey: KEY, maxRetries: 0, timeout: 30_000 });
const messages = [{ role: "user", content: "Say hello in 5 words" }];
const ask = (options = {}) => client.chat.completions.create({ model: MODEL, messages, ...options });

await check("a unary answer", async () => {
  const answer = await ask({ max_tokens: 50, provider: "featherless" });
  const [choice] = answer.choices;
  assert.equal(answer.object, "chat.completion");
  assert.equal(choice.finish_reason, "stop");
  assert.equal(words(choice.message.content), 5);
  assert.equal(typeof answer.created, "number");
  assert.ok(answer.usage.total_tokens > 0);
});

await check("a streamed answer, with usage at its end", async () => {
  let text = "";
  let usage;
  for await (const chunk of await ask({ stream: true, stream_options: { include_usage: true } })) {
    text += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(words(text), 5);
  assert.ok(usage.total_tokens > 0);
});

await check("a tool run by the SDK, in a stream", async () => {
  const asked = [];
  const runner = client.chat.completions.runTools({
    model: MODEL,
    messages: [{ role: "user", content: "What is the weather in Paris?" }],
    stream: true,
    tools: [
      {
        type: "function",
        function: {
          name: "get_weather",
          description: "Tells the weather of a city",
          parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
          parse: JSON.parse,
          function: ({ city }) => {
            asked.push(city);
            return "sunny";
          },
        },
      },
    ],
  });
  assert.ok(await runner.finalContent());
  assert.equal(asked.length, 1);
});

await check("models, listed and by id", async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.ok(ids.includes(MODEL));
  assert.equal((await client.models.retrieve(MODEL)).id, MODEL);
});

await check("the gateway's options in a request, and the report in its answer and in a stream", async () => {
  const featherwire = { fallbacks: [MODEL], priority: "batch", timeout_ms: 30_000, report: true };
  const answer = await ask({ model: "emulator/503", featherwire });
  assert.equal(answer.featherwire.model, MODEL);
  assert.deepEqual(answer.featherwire.tried, [{ model: "emulator/503", reason: "no_capacity" }]);
  const reports = [];
  for await (const chunk of await ask({ stream: true, featherwire })) reports.push(chunk.featherwire);
  assert.equal(reports.pop().model_asked, MODEL);
  assert.deepEqual(reports.filter(Boolean), []);
});

await check("an option that contradicts its header is refused", async () => {
  const asked = { model: MODEL, messages, featherwire: { priority: "batch" } };
  const send = (priority) => client.chat.completions.create(asked, { headers: { "x-featherwire-priority": priority } });
  const error = await thrown(() => send("interactive"));
  assert.ok(error instanceof OpenAI.BadRequestError);
  assert.equal(error.param, "featherwire.priority");
  await send("batch");
});

await check("errors become the SDK's classes", async () => {
  for (const [kind, code, options] of [
    [OpenAI.BadRequestError, "invalid_value", { temperature: 3 }],
    [OpenAI.PermissionDeniedError, "model_gated", { model: "emulator/gated" }],
    [OpenAI.NotFoundError, "model_not_found", { model: "no/such-model" }],
    [OpenAI.RateLimitError, "concurrency_limit_exceeded", { model: "emulator/429" }],
    [OpenAI.InternalServerError, "no_capacity", { model: "emulator/503" }],
  ]) {
    const error = await thrown(() => ask(options));
    assert.ok(error instanceof kind, `${code}: ${error.constructor.name}`);
    assert.equal(error.code, code);
  }
  const stranger = new OpenAI({ baseURL: `${URL}/v1`, apiKey: "gw_wrong", maxRetries: 0 });
  assert.ok((await thrown(() => stranger.models.list())) instanceof OpenAI.AuthenticationError);
});

await check("an answer that is cut short throws, after the content before the cut", async () => {
  let text = "";
  const error = await thrown(async () => {
    for await (const chunk of await ask({ model: "emulator/cut-after-5", stream: true })) {
      text += chunk.choices[0]?.delta.content ?? "";
    }
  });
  assert.equal(error.code, "upstream_stream_cut");
  assert.ok(text);
});
