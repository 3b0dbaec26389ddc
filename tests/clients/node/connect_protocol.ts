// connect-node with its own protocol: each version of HTTP, each codec, GET, compression, timeouts and cancellation.

import assert from "node:assert/strict";
import { Code, ConnectError, createClient, type Interceptor, type Transport } from "@connectrpc/connect";
import { compressionGzip, createConnectTransport, type ConnectTransportOptions } from "@connectrpc/connect-node";
import { AccountService } from "../gen/featherwire/v1/account_service_pb";
import { CallerService } from "../gen/featherwire/v1/caller_service_pb";
import { ChatService } from "../gen/featherwire/v1/chat_service_pb";
import { ModelService } from "../gen/featherwire/v1/model_service_pb";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb";
import { KEY, MODEL, URL, check, thrown, words } from "./checks.mjs";

const withKey: Interceptor = (next) => (request) => {
  request.header.set("Authorization", `Bearer ${KEY}`);
  return next(request);
};

const request = (model = MODEL) => ({
  model,
  messages: [{ role: "user", content: "Say hello in 5 words" }],
});

/** The HTTP methods of the calls of a transport, in their order. Only answers to a GET have this header. */
function recorded(options: Partial<ConnectTransportOptions> = {}): { transport: Transport; methods: string[] } {
  const methods: string[] = [];
  const record: Interceptor = (next) => async (request) => {
    const response = await next(request);
    methods.push(response.header.get("cache-control") === "no-store" ? "GET" : "POST");
    return response;
  };
  const transport = createConnectTransport({
    baseUrl: URL,
    httpVersion: "2",
    interceptors: [withKey, record],
    ...options,
  } as ConnectTransportOptions);
  return { transport, methods };
}

for (const httpVersion of ["1.1", "2"] as const) {
  for (const useBinaryFormat of [false, true]) {
    const form = `HTTP/${httpVersion}, ${useBinaryFormat ? "protobuf" : "JSON"}`;
    const { transport } = recorded({ httpVersion, useBinaryFormat });
    const chat = createClient(ChatService, transport);

    await check(`a unary answer (${form})`, async () => {
      let id: string | null = null;
      const onHeader = (headers: Headers) => (id = headers.get("x-request-id"));
      const { choices, created } = await chat.createChatCompletion({ ...request(), maxTokens: 50 }, { onHeader });
      assert.equal(choices[0].finishReason, "stop");
      assert.equal(words(choices[0].message?.content ?? ""), 5);
      assert.equal(typeof created, "bigint");
      assert.match(id ?? "", /^[0-9a-f]{32}$/);
    });

    await check(`a streamed answer (${form})`, async () => {
      let text = "";
      for await (const { choices } of chat.streamChatCompletion(request())) {
        text += choices[0]?.delta?.content ?? "";
      }
      assert.equal(words(text), 5);
    });

    await check(`an error with its details (${form})`, async () => {
      const error: ConnectError = await thrown(() => chat.createChatCompletion({ ...request(), temperature: 3 }));
      assert.equal(error.code, Code.InvalidArgument);
      assert.equal(error.findDetails(ErrorInfoSchema)[0].reason, "INVALID_VALUE");
      assert.equal(error.findDetails(BadRequestSchema)[0].fieldViolations[0].field, "temperature");
    });

    await check(`an answer that is cut short ends with Unavailable, after the content before the cut (${form})`, async () => {
      let chunks = 0;
      const error: ConnectError = await thrown(async () => {
        for await (const _ of chat.streamChatCompletion(request("emulator/cut-after-5"))) chunks += 1;
      });
      assert.equal(error.code, Code.Unavailable);
      assert.ok(chunks > 0);
    });

    await check(`a refusal says when to try again, in a unary call and in a stream (${form})`, async () => {
      const calls = [
        () => chat.createChatCompletion(request("emulator/429-html-retry-after-5")),
        async () => {
          for await (const _ of chat.streamChatCompletion(request("emulator/429-html-retry-after-5")));
        },
      ];
      for (const call of calls) {
        const error: ConnectError = await thrown(call);
        assert.equal(error.code, Code.ResourceExhausted);
        assert.ok(error.findDetails(RetryInfoSchema)[0].retryDelay!.seconds > 0n);
      }
    });

    await check(`a timeout ends a stream with DeadlineExceeded (${form})`, async () => {
      const error: ConnectError = await thrown(async () => {
        const long = { ...request("emulator/stall-after-5"), maxTokens: 4000 };
        for await (const _ of chat.streamChatCompletion(long, { timeoutMs: 500 }));
      });
      assert.equal(error.code, Code.DeadlineExceeded);
    });

    await check(`methods without side effects by GET (${form})`, async () => {
      const { transport, methods } = recorded({ httpVersion, useBinaryFormat, useHttpGet: true });
      assert.equal((await createClient(ModelService, transport).getModel({ model: MODEL })).id, MODEL);
      assert.equal((await createClient(ModelService, transport).listModels({ pageSize: 2 })).models.length, 2);
      await createClient(AccountService, transport).getPlan({});
      await createClient(CallerService, transport).getOwnKey({});
      await createClient(ChatService, transport).createChatCompletion(request());
      await createClient(ModelService, transport).tokenize({ model: MODEL, text: "hello" });
      assert.deepEqual(methods, ["GET", "GET", "GET", "GET", "POST", "POST"]);
    });

    await check(`compressed requests (${form})`, async () => {
      const compressed = recorded({
        httpVersion,
        useBinaryFormat,
        sendCompression: compressionGzip,
        compressMinBytes: 0,
      });
      const chat = createClient(ChatService, compressed.transport);
      const { choices } = await chat.createChatCompletion(request());
      assert.equal(words(choices[0].message?.content ?? ""), 5);
      let text = "";
      for await (const { choices } of chat.streamChatCompletion(request())) {
        text += choices[0]?.delta?.content ?? "";
      }
      assert.equal(words(text), 5);
      const models = await createClient(ModelService, compressed.transport).listModels({ pageSize: 1000 });
      assert.ok(models.models.length > 5);
    });
  }
}

await check("a caller who leaves a stream gives its units back", async () => {
  const { transport } = recorded();
  const stop = new AbortController();
  const long = { ...request(), maxTokens: 4000, messages: [{ role: "user", content: "Count to 5000" }] };
  const error: ConnectError = await thrown(async () => {
    for await (const _ of createClient(ChatService, transport).streamChatCompletion(long, { signal: stop.signal })) {
      stop.abort();
    }
  });
  assert.equal(error.code, Code.Canceled);
  const seen = new AbortController();
  const ended: ConnectError = await thrown(async () => {
    const { signal } = seen;
    for await (const { usedCost } of createClient(AccountService, transport).watchConcurrency({}, { signal })) {
      if (usedCost === 0) seen.abort();
    }
  });
  assert.equal(ended.code, Code.Canceled);
});

await check("no key and an unknown method", async () => {
  const without = createConnectTransport({ baseUrl: URL, httpVersion: "2" });
  const error: ConnectError = await thrown(() => createClient(ChatService, without).createChatCompletion(request()));
  assert.equal(error.code, Code.Unauthenticated);
  const elsewhere = createConnectTransport({ baseUrl: `${URL}/elsewhere`, httpVersion: "2", interceptors: [withKey] });
  const unknown: ConnectError = await thrown(() => createClient(ChatService, elsewhere).createChatCompletion(request()));
  assert.equal(unknown.code, Code.Unimplemented);
});
