// @grpc/grpc-js with messages that @grpc/proto-loader reads from proto/ at run time, or that it gets by reflection, as
// graphical tools do.

import assert from "node:assert/strict";
import grpc from "@grpc/grpc-js";
import { fromJSON, loadSync } from "@grpc/proto-loader";
import reflection from "grpc-reflection-js";
import { KEY, MODEL, URL, check, thrown, words } from "./checks.mjs";

const options = { keepCase: true, longs: Number, oneofs: true, includeDirs: [process.env.FEATHERWIRE_PROTO] };
const { featherwire } = grpc.loadPackageDefinition(loadSync("featherwire/v1/chat_service.proto", options));
const chat = new featherwire.v1.ChatService(URL.replace("http://", ""), grpc.credentials.createInsecure());

const request = (options = {}) => ({
  model: MODEL,
  messages: [{ role: "user", content: "Say hello in 5 words" }],
  ...options,
});

function metadata(key = KEY, more = {}) {
  const metadata = new grpc.Metadata();
  if (key) metadata.set("authorization", `Bearer ${key}`);
  for (const [name, value] of Object.entries(more)) metadata.set(name, value);
  return metadata;
}

const unary = (request, key, more = {}) =>
  new Promise((resolve, reject) =>
    chat.CreateChatCompletion(request, metadata(key, more), (error, answer) => (error ? reject(error) : resolve(answer))),
  );

await check("a unary answer", async () => {
  const answer = await unary(request({ max_tokens: 50 }));
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.equal(words(answer.choices[0].message.content), 5);
  assert.equal(typeof answer.created, "number");
});

await check("a streamed answer", async () => {
  let text = "";
  for await (const chunk of chat.StreamChatCompletion(request(), metadata())) {
    text += chunk.choices[0]?.delta.content ?? "";
  }
  assert.equal(words(text), 5);
});

await check("the gateway's options in a request, and the report in its answer and in a stream", async () => {
  const featherwire = { fallbacks: [MODEL], priority: "PRIORITY_BATCH", timeout_ms: 30_000, report: true };
  const answer = await unary(request({ model: "emulator/503", featherwire }));
  assert.equal(answer.featherwire.model, MODEL);
  assert.deepEqual(answer.featherwire.tried.map(({ model }) => model), ["emulator/503"]);
  const reports = [];
  for await (const chunk of chat.StreamChatCompletion(request({ featherwire }), metadata())) {
    reports.push(chunk.featherwire);
  }
  assert.equal(reports.pop().model_asked, MODEL);
  assert.deepEqual(reports.filter(Boolean), []);
});

await check("an option that contradicts its metadata is refused", async () => {
  const asked = request({ featherwire: { priority: "PRIORITY_BATCH" } });
  const error = await thrown(() => unary(asked, KEY, { "x-featherwire-priority": "interactive" }));
  assert.equal(error.code, grpc.status.INVALID_ARGUMENT);
  assert.match(error.details, /^featherwire\.priority: /);
  await unary(asked, KEY, { "x-featherwire-priority": "batch" });
});

await check("an error with its status and details", async () => {
  const error = await thrown(() => unary(request({ temperature: 3 })));
  assert.equal(error.code, grpc.status.INVALID_ARGUMENT);
  assert.match(error.details, /^temperature: /);
  const [packed] = error.metadata.get("grpc-status-details-bin");
  assert.ok(packed.includes("INVALID_VALUE"));
});

await check("UNAUTHENTICATED without a key", async () => {
  assert.equal((await thrown(() => unary(request(), ""))).code, grpc.status.UNAUTHENTICATED);
});

await check("an answer that is cut short ends with UNAVAILABLE", async () => {
  const error = await thrown(async () => {
    for await (const _ of chat.StreamChatCompletion(request({ model: "emulator/cut-after-5" }), metadata()));
  });
  assert.equal(error.code, grpc.status.UNAVAILABLE);
});

const call = (client, request) =>
  new Promise((resolve, reject) =>
    client.CreateChatCompletion(request, metadata(), (error, answer) => {
      client.close();
      return error ? reject(error) : resolve(answer);
    }),
  );

await check("a client built from reflection, which needs no key", async () => {
  const address = URL.replace("http://", "");
  const tool = new reflection.Client(address, grpc.credentials.createInsecure());
  const root = await tool.fileContainingSymbol("featherwire.v1.ChatService");
  const { ChatService } = grpc.loadPackageDefinition(fromJSON(root.toJSON(), options)).featherwire.v1;
  const answer = await call(new ChatService(address, grpc.credentials.createInsecure()), request());
  assert.equal(words(answer.choices[0].message.content), 5);
});

await check("a compressed request", async () => {
  const gzip = { "grpc.default_compression_algorithm": 2 };
  const client = new featherwire.v1.ChatService(URL.replace("http://", ""), grpc.credentials.createInsecure(), gzip);
  const messages = [{ role: "user", content: "Say hello in 5 words. ".repeat(1000) }];
  const answer = await call(client, request({ messages }));
  assert.equal(answer.choices[0].finish_reason, "stop");
});

chat.close();
