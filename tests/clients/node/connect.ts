// connect-node over gRPC, with code that protoc-gen-es generated from proto/.

import assert from "node:assert/strict";
import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { ChatService } from "../gen/featherwire/v1/chat_service_pb";
import { Priority } from "../gen/featherwire/v1/gateway_pb";
import { ModelService } from "../gen/featherwire/v1/model_service_pb";
import { BadRequestSchema, ErrorInfoSchema } from "../gen/google/rpc/error_details_pb";
import { KEY, MODEL, URL, check, thrown, words } from "./checks.mjs";

const withKey: Interceptor = (next) => (request) => {
  request.header.set("Authorization", `Bearer ${KEY}`);
  return next(request);
};
const transport = createGrpcTransport({ baseUrl: URL, interceptors: [withKey] });
const chat = createClient(ChatService, transport);

const request = (model = MODEL) => ({
  model,
  messages: [{ role: "user", content: "Say hello in 5 words" }],
});

await check("a unary answer", async () => {
  const { choices, created } = await chat.createChatCompletion({ ...request(), maxTokens: 50 });
  assert.equal(choices[0].finishReason, "stop");
  assert.equal(words(choices[0].message?.content ?? ""), 5);
  assert.equal(typeof created, "bigint");
});

await check("a streamed answer", async () => {
  let text = "";
  for await (const { choices } of chat.streamChatCompletion(request())) {
    text += choices[0]?.delta?.content ?? "";
  }
  assert.equal(words(text), 5);
});

await check("content as parts, and not in both forms", async () => {
  const parts = [{ type: "text", text: "Say hello in 5 words" }];
  const { choices } = await chat.createChatCompletion({ model: MODEL, messages: [{ role: "user", contentParts: parts }] });
  assert.equal(words(choices[0].message?.content ?? ""), 5);
  const both = [{ role: "user", content: "Say hello", contentParts: parts }];
  const error: ConnectError = await thrown(() => chat.createChatCompletion({ model: MODEL, messages: both }));
  assert.equal(error.code, Code.InvalidArgument);
  assert.equal(error.findDetails(BadRequestSchema)[0].fieldViolations[0].field, "messages[0].content_parts");
});

await check("the gateway's options in a request, and the report in its answer and in a stream", async () => {
  const featherwire = { fallbacks: [MODEL], priority: Priority.BATCH, timeoutMs: 30_000n, report: true };
  const answer = await chat.createChatCompletion({ ...request("emulator/503"), featherwire });
  assert.equal(answer.featherwire?.model, MODEL);
  assert.deepEqual(answer.featherwire.tried.map(({ model, reason }) => [model, reason]), [["emulator/503", "no_capacity"]]);
  const reports = [];
  for await (const chunk of chat.streamChatCompletion({ ...request(), featherwire: { report: true } })) {
    reports.push(chunk.featherwire);
  }
  assert.equal(reports.pop()?.modelAsked, MODEL);
  assert.deepEqual(reports.filter(Boolean), []);
});

await check("an option that contradicts its metadata is refused", async () => {
  const asked = { ...request(), featherwire: { priority: Priority.BATCH } };
  const headers = { "x-featherwire-priority": "interactive" };
  const error: ConnectError = await thrown(() => chat.createChatCompletion(asked, { headers }));
  assert.equal(error.code, Code.InvalidArgument);
  assert.equal(error.findDetails(BadRequestSchema)[0].fieldViolations[0].field, "featherwire.priority");
  await chat.createChatCompletion(asked, { headers: { "x-featherwire-priority": "batch" } });
});

await check("an error with its details", async () => {
  const error: ConnectError = await thrown(() => chat.createChatCompletion({ ...request(), temperature: 3 }));
  assert.equal(error.code, Code.InvalidArgument);
  assert.equal(error.findDetails(ErrorInfoSchema)[0].reason, "INVALID_VALUE");
  assert.equal(error.findDetails(BadRequestSchema)[0].fieldViolations[0].field, "temperature");
});

await check("an answer that is cut short ends with Unavailable, after the content before the cut", async () => {
  let chunks = 0;
  const error: ConnectError = await thrown(async () => {
    for await (const _ of chat.streamChatCompletion(request("emulator/cut-after-5"))) chunks += 1;
  });
  assert.equal(error.code, Code.Unavailable);
  assert.ok(chunks > 0);
});

await check("a model of the catalogue", async () => {
  const models = createClient(ModelService, transport);
  assert.equal((await models.getModel({ model: MODEL })).id, MODEL);
});
