// openapi-fetch with types that openapi-typescript generated from the gateway's /openapi.json. `run` checks the types
// of this file before it runs it.

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "../gen/openapi";
import { KEY, MODEL, URL, check, words } from "../node/checks.mjs";

type Schemas = components["schemas"];
type ChatRequest = Schemas["CreateChatCompletionRequest"];
type Chunk = Schemas["StreamChatCompletionResponse"];

// Unary answers only. Otherwise the type of an answer that can be streamed is a union of the unary answer and a chunk.
const client = createClient<paths, "application/json">({ baseUrl: URL, headers: { Authorization: `Bearer ${KEY}` } });

const request = (members: Partial<ChatRequest> = {}): ChatRequest => ({
  model: MODEL,
  messages: [{ role: "user", content: "Say hello in 5 words" }],
  ...members,
});

/** The pieces of a streamed answer; an error in the stream is thrown. */
async function* stream(body: ChatRequest): AsyncGenerator<Chunk> {
  const { data } = await client.POST("/v1/chat/completions:stream", { body, parseAs: "stream" });
  assert.ok(data);
  let rest = "";
  for await (const text of data.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line === "data: [DONE]") return;
      if (!line.startsWith("data: ")) continue;
      const event: Chunk | Schemas["ErrorResponse"] = JSON.parse(line.slice("data: ".length));
      if ("error" in event) throw event.error;
      yield event as Chunk;
    }
  }
  assert.fail("the stream has no end");
}

await check("a unary answer", async () => {
  // The request of the quick start. It must have every member without `?` in the type, and no other.
  const { data, error } = await client.POST("/v1/chat/completions", {
    body: {
      model: MODEL,
      messages: [{ role: "user", content: "Say hello in 5 words" }],
      max_tokens: 50,
    },
  });
  assert.equal(error, undefined);
  const [choice] = data?.choices ?? [];
  assert.equal(choice?.finish_reason, "stop");
  assert.ok(typeof choice.message.content === "string");
  assert.equal(words(choice.message.content), 5);
  assert.ok(data?.usage?.total_tokens);
});

await check("a streamed answer", async () => {
  let text = "";
  for await (const { choices } of stream(request())) {
    const content = choices[0]?.delta.content;
    if (typeof content === "string") text += content;
  }
  assert.equal(words(text), 5);
});

await check("a stream that fails ends with the typed error, after the content before the cut", async () => {
  let chunks = 0;
  let failure: Schemas["ErrorDetail"] | undefined;
  try {
    for await (const _ of stream(request({ model: "emulator/cut-after-5" }))) chunks += 1;
  } catch (error) {
    failure = error as Schemas["ErrorDetail"];
  }
  assert.equal(failure?.code, "upstream_stream_cut");
  assert.equal(failure.type, "upstream_error");
  assert.ok(chunks > 0);
});

await check("a tool call, and its message sent back", async () => {
  const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
  const tools: Schemas["Tool"][] = [{ type: "function", function: { name: "get_weather", parameters } }];
  const messages: ChatRequest["messages"] = [{ role: "user", content: "What is the weather in Paris?" }];
  const asked = await client.POST("/v1/chat/completions", { body: request({ messages, tools }) });
  const message = asked.data?.choices[0]?.message;
  const call = message?.tool_calls?.[0];
  assert.ok(message && call);
  assert.equal(call.function?.name, "get_weather");
  messages.push(message, { role: "tool", tool_call_id: call.id, content: "sunny" });
  const told = await client.POST("/v1/chat/completions", { body: request({ messages, tools }) });
  assert.equal(told.data?.choices[0]?.finish_reason, "stop");
});

await check("one page of the models, and a model", async () => {
  const { data: page } = await client.GET("/v1/models", { params: { query: { page_size: 3, "filter.gated": false } } });
  assert.equal(page?.data.length, 3);
  assert.ok(page.next_page_token && page.total_size && page.total_size > 3);
  const [org, name] = MODEL.split("/") as [string, string];
  const { data: model } = await client.GET("/v1/models/{org}/{name}", { params: { path: { org, name } } });
  assert.equal(model?.id, MODEL);
});

await check("errors are typed, and their status is in the document", async () => {
  const { error } = await client.POST("/v1/chat/completions", { body: request({ temperature: 3 }) });
  const type: Schemas["ErrorType"] | undefined = error?.error.type;
  assert.deepEqual([type, error?.error.param], ["invalid_request_error", "temperature"]);
  const unknown = await client.POST("/v1/chat/completions", { body: request({ model: "no/such-model" }) });
  assert.deepEqual([unknown.response.status, unknown.error?.error.code], [404, "model_not_found"]);
});

await check("the gateway's options, and the report in a unary answer and in a stream", async () => {
  const featherwire: Schemas["GatewayOptions"] = { fallbacks: [MODEL], priority: "batch", timeout_ms: 30_000, report: true };
  const { data } = await client.POST("/v1/chat/completions", { body: request({ model: "emulator/503", featherwire }) });
  const report: Schemas["CallReport"] | undefined = data?.featherwire;
  assert.equal(report?.model, MODEL);
  assert.deepEqual(report.tried.map(({ model, reason }) => [model, reason]), [["emulator/503", "no_capacity"]]);
  const reports = [];
  for await (const chunk of stream(request({ featherwire: { report: true } }))) reports.push(chunk.featherwire);
  const last = reports.pop();
  assert.equal(last?.model_asked, MODEL);
  assert.deepEqual(reports.filter(Boolean), []);
});

await check("the headers of requests are typed parameters, and those of answers are there", async () => {
  const header = {
    "x-featherwire-priority": "batch",
    "x-featherwire-fallback": MODEL,
    "x-featherwire-unary-via-stream": true,
    "x-request-timeout-ms": 30_000,
  } as const;
  const { data, response } = await client.POST("/v1/chat/completions", {
    params: { header },
    body: request({ model: "emulator/503" }),
  });
  assert.ok(data);
  assert.equal(response.headers.get("x-featherwire-model"), MODEL);
  assert.equal(response.headers.get("x-featherwire-tried"), "emulator/503=no_capacity");
});

await check("an option that contradicts its header is refused", async () => {
  const { error } = await client.POST("/v1/chat/completions", {
    params: { header: { "x-featherwire-priority": "interactive" } },
    body: request({ featherwire: { priority: "batch" } }),
  });
  assert.equal(error?.error.param, "featherwire.priority");
});

await check("a text completion with its log probabilities, and embeddings", async () => {
  const body = { model: MODEL, prompt: "Once upon a time", max_tokens: 5, logprobs: 2 };
  const { data: text } = await client.POST("/v1/completions", { body });
  assert.ok(text?.choices[0]?.logprobs?.tokens?.length);
  const { data: vectors } = await client.POST("/v1/embeddings", { body: { model: "BAAI/bge-m3", input: ["one", "two"] } });
  assert.equal(vectors?.data.length, 2);
});
