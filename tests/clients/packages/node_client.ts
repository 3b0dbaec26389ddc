// clients/typescript in Node, as it is installed from its archive.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { clone, fromJson, toJson } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  ChatAccumulator,
  connect,
  ErrorReason,
  FeatherwireError,
  IncompleteAnswerError,
} from "featherwire/node";
import { KeyService } from "featherwire/admin";
import {
  CreateChatCompletionResponseSchema,
  StreamChatCompletionResponseSchema,
  type CreateChatCompletionResponse,
} from "featherwire/v1";
import { KEY, MODEL, URL, check, thrown, words } from "../node/checks.mjs";

const { FEATHERWIRE_TLS_URL: TLS_URL, FEATHERWIRE_TLS_CA: CA } = process.env;
const client = connect({ address: URL, apiKey: KEY, timeoutMs: 30_000 });

const request = (model: string = MODEL, more: object = {}) => ({
  model,
  messages: [{ role: "user", content: "Say hello in 5 words" }],
  ...more,
});

const parameters =
  '{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}';
const withTool = (model?: string) =>
  request(model, {
    messages: [{ role: "user", content: "Call get_weather for the city of Oslo" }],
    tools: [{ function: { name: "get_weather", parameters } }],
    seed: 7n,
  });

/** The part of an answer that is the same in every answer to a request. */
function withoutIds(answer: CreateChatCompletionResponse) {
  const { choices } = clone(CreateChatCompletionResponseSchema, answer);
  for (const call of choices.flatMap(({ message }) => message?.toolCalls ?? [])) {
    delete call.id;
    delete call.index;
  }
  return choices.map(({ message, finishReason, logprobs }) => [message, finishReason, logprobs]);
}

async function failure(body: () => Promise<unknown>): Promise<FeatherwireError> {
  const error = await thrown(body);
  assert.ok(error instanceof FeatherwireError, String(error));
  assert.ok(error instanceof ConnectError);
  return error;
}

await check("a unary answer", async () => {
  const [choice] = (await client.chat(request())).choices;
  assert.deepEqual([words(choice?.message?.content), choice?.finishReason], [5, "stop"]);
});

await check("a stream's text, and the answer at its end with the usage", async () => {
  const stream = client.streamChat(request(MODEL, { seed: 7n }));
  assert.ok((await thrown(async () => stream.answer)) instanceof IncompleteAnswerError);
  const pieces: string[] = [];
  for await (const text of stream) pieces.push(text);
  assert.ok(pieces.length > 1);
  const unary = await client.chat(request(MODEL, { seed: 7n }));
  assert.equal(pieces.join(""), unary.choices[0]?.message?.content);
  assert.deepEqual(withoutIds(stream.answer), withoutIds(unary));
  assert.equal(stream.answer.usage?.totalTokens, unary.usage?.totalTokens);
  assert.deepEqual(await stream.read(), stream.answer);
});

await check("a stream adds up to the unary answer: tool calls, answers, reasoning", async () => {
  const tool = await client.chat(withTool());
  assert.ok(tool.choices[0]?.message?.toolCalls.length, "the emulator called no tool");
  for (const asked of [
    withTool(),
    withTool("emulator/same-index-calls"),
    withTool("emulator/calls-by-id"),
    request(MODEL, { n: 3, seed: 7n }),
    request("emulator/think", { seed: 7n }),
    request(MODEL, { logprobs: true, topLogprobs: 2, seed: 7n }),
  ]) {
    const unary = await client.chat(asked);
    const streamed = await client.streamChat(asked).read();
    assert.deepEqual(withoutIds(streamed), withoutIds(unary));
  }
});

const pieces = JSON.parse(readFileSync(new globalThis.URL("pieces.json", import.meta.url), "utf8"));
for (const { name, chunks, answer, isComplete } of pieces) {
  await check(name, async () => {
    const sum = new ChatAccumulator();
    for (const chunk of chunks) sum.add(fromJson(StreamChatCompletionResponseSchema, chunk));
    assert.deepEqual(toJson(CreateChatCompletionResponseSchema, sum.answer()), answer);
    assert.equal(sum.isComplete, isComplete);
  });
}

/** Waits until the account's units are used by this model alone, or by none. */
async function active(model?: string) {
  for await (const { requests } of client.account.watchConcurrency({})) {
    if (requests.map((request) => request.model).join() === (model ?? "")) return;
  }
}

await check("leaving the loop, `close` and a signal each end the call at Featherless", async () => {
  const silent = request("emulator/stall-after-5");

  for await (const _ of client.streamChat(silent)) {
    await active(silent.model);
    break;
  }
  await active();

  // A stream that is not a ChatStream too.
  for await (const _ of client.chats.streamChatCompletion(silent)) {
    await active(silent.model);
    break;
  }
  await active();

  const closed = client.streamChat(silent);
  const reading = thrown(() => closed.read());
  await active(silent.model);
  closed.close();
  assert.ok((await reading) instanceof IncompleteAnswerError);
  assert.ok(closed.soFar.choices[0]?.message?.content);
  await active();

  const caller = new AbortController();
  const cancelled = thrown(() => client.streamChat(silent, { signal: caller.signal }).read());
  await active(silent.model);
  caller.abort();
  assert.equal((await cancelled).code, Code.Canceled);
  await active();
});

await check("no timer of a call that has ended keeps the program running", () => {
  assert.deepEqual(process.getActiveResourcesInfo().filter((name) => name === "Timeout"), []);
});

await check("an answer that is cut short is an error, after its text", async () => {
  for (const model of ["emulator/cut-after-5", "emulator/eof-after-5"]) {
    const stream = client.streamChat(request(model));
    const error = await failure(() => stream.read());
    assert.equal(error.code, Code.Unavailable);
    assert.equal(error.reason, ErrorReason.UPSTREAM_STREAM_CUT);
    assert.ok(stream.soFar.choices[0]?.message?.content);
    assert.ok((await thrown(async () => stream.answer)) instanceof IncompleteAnswerError);
  }
});

await check("an error has its reason, its wait, its model and its request's id", async () => {
  const busy = request("emulator/503-retry-after-60");
  for (const call of [() => client.chat(busy), () => client.streamChat(busy).read()]) {
    const error = await failure(call);
    assert.equal(error.code, Code.Unavailable);
    assert.equal(error.reason, ErrorReason.NO_CAPACITY);
    assert.deepEqual([error.retry, error.retryAfterMs], ["soon", 60_000]);
    assert.deepEqual([error.model, error.limit], [busy.model, undefined]);
    assert.match(error.requestId ?? "", /^[0-9a-f]{32}$/);
  }
});

await check("an error names the wrong field, and the page that helps", async () => {
  const wrong = await failure(() => client.chat(request(MODEL, { temperature: 3 })));
  assert.deepEqual([wrong.field, wrong.retry], ["temperature", "never"]);
  assert.equal(wrong.retryAfterMs, undefined);
  const gated = await failure(() => client.chat(request("emulator/gated")));
  assert.equal(gated.reason, ErrorReason.MODEL_GATED);
  assert.match(gated.helpUrl ?? "", /^https:/);
});

await check("a wrong key is an error without the key", async () => {
  const error = await failure(() => connect({ address: URL, apiKey: "gw_wrong" }).chat(request()));
  assert.deepEqual([error.code, error.reason], [Code.Unauthenticated, ErrorReason.INVALID_API_KEY]);
  assert.ok(!JSON.stringify(error).includes("gw_wrong") && !String(error).includes("gw_wrong"));
});

await check("the timeout of a call, and that of the client", async () => {
  const silent = request("emulator/stall-after-5");
  const late = await failure(() => client.streamChat(silent, { timeoutMs: 500 }).read());
  assert.equal(late.code, Code.DeadlineExceeded);
  const hasty = connect({ address: URL, apiKey: KEY, timeoutMs: 500 });
  assert.equal((await failure(() => hasty.chat(silent))).code, Code.DeadlineExceeded);
  assert.ok((await hasty.chat(request(), { timeoutMs: 30_000 })).choices.length);
});

await check("a timeout of 0, of less or without an end is none", async () => {
  const hasty = connect({ address: URL, apiKey: KEY, timeoutMs: 1 });
  assert.equal((await failure(() => hasty.chat(request()))).code, Code.DeadlineExceeded);
  for (const timeoutMs of [0, -1, Infinity, 2 ** 31]) {
    const patient = connect({ address: URL, apiKey: KEY, timeoutMs });
    for (const [client, options] of [[hasty, { timeoutMs }], [patient, {}]] as const) {
      assert.ok((await client.chat(request(), options)).choices.length);
      assert.ok((await client.streamChat(request(), options).read()).choices.length);
      for await (const _ of client.models({}, options)) break;
      for await (const _ of client.account.watchConcurrency({}, options)) break;
    }
  }
});

await check("a stream that is closed in its loop, or before it, is not complete", async () => {
  const silent = request("emulator/stall-after-5");
  const inLoop = client.streamChat(silent);
  const error = await failure(async () => {
    for await (const _ of inLoop.chunks()) inLoop.close();
  });
  assert.ok(error instanceof IncompleteAnswerError);
  const before = client.streamChat(silent);
  before.close();
  const others = [() => inLoop.read(), () => before.read(), () => before.chunks().next()];
  for (const read of others) {
    assert.ok((await failure(read)) instanceof IncompleteAnswerError);
  }
  assert.ok(inLoop.soFar.choices[0]?.message);
  await active();
});

await check("all models, over several pages", async () => {
  const found = new Set<string>();
  let count = 0;
  for await (const { id } of client.models()) {
    found.add(id);
    count += 1;
  }
  const { totalSize } = await client.catalogue.listModels({ pageSize: 1 });
  assert.deepEqual([found.size, count], [totalSize, totalSize]);
  assert.ok(count > 2000);
});

await check("a client of another service, with the key and the errors", async () => {
  const error = await failure(() => client.of(KeyService).listKeys({}));
  assert.equal(error.reason, ErrorReason.WRONG_KEY_ROLE);
});

await check("TLS, with the authority of the gateway's certificate and not without it", async () => {
  const encrypted = connect({ address: TLS_URL, apiKey: KEY, ca: CA });
  assert.ok((await encrypted.chat(request())).choices.length);
  await failure(() => connect({ address: TLS_URL, apiKey: KEY }).chat(request()));
});

await check("the environment is the default", async () => {
  Object.assign(process.env, { FEATHERWIRE_GATEWAY: URL, FEATHERWIRE_API_KEY: KEY });
  assert.ok((await connect().chat(request())).choices.length);
});
