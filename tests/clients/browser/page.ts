// Runs in a browser, on a page of another origin than the gateway: connect-web with gRPC-Web and with Connect, and fetch.

import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import { ChatService } from "../gen/featherwire/v1/chat_service_pb";
import { ModelService } from "../gen/featherwire/v1/model_service_pb";
import { ErrorInfoSchema, HelpSchema } from "../gen/google/rpc/error_details_pb";

const MODEL = "meta-llama/Meta-Llama-3.1-8B-Instruct";

type Protocol = "gRPC-Web" | "Connect with JSON" | "Connect with protobuf";

function transport(url: string, key: string, protocol: Protocol) {
  const withKey: Interceptor = (next) => (request) => {
    if (key) request.header.set("Authorization", `Bearer ${key}`);
    return next(request);
  };
  const options = { baseUrl: url, interceptors: [withKey] };
  if (protocol === "gRPC-Web") return createGrpcWebTransport(options);
  return createConnectTransport({ ...options, useBinaryFormat: protocol === "Connect with protobuf", useHttpGet: true });
}

const client = (url: string, key: string, protocol: Protocol) => createClient(ChatService, transport(url, key, protocol));

const request = (model: string) => ({
  model,
  messages: [{ role: "user", content: "Say hello in 5 words" }],
});

/** The answer's text and its request id, which the page may read only because CORS exposes it. */
async function unary(url: string, key: string, protocol: Protocol, model = MODEL) {
  let id: string | null = null;
  const answer = await client(url, key, protocol).createChatCompletion(request(model), {
    onHeader: (headers) => (id = headers.get("x-request-id")),
  });
  return { text: answer.choices[0].message?.content, id };
}

/** The pieces of an answer, and how it ended. */
async function stream(url: string, key: string, protocol: Protocol, model = MODEL) {
  const pieces: string[] = [];
  try {
    for await (const { choices } of client(url, key, protocol).streamChatCompletion(request(model))) {
      const piece = choices[0]?.delta?.content;
      if (piece) pieces.push(piece);
    }
    return { pieces, end: "ok" };
  } catch (error) {
    return { pieces, end: Code[ConnectError.from(error).code] };
  }
}

/** What went wrong with a unary call, in the words of its details. */
async function failure(url: string, key: string, protocol: Protocol, model = MODEL) {
  try {
    await unary(url, key, protocol, model);
    return null;
  } catch (thrown) {
    const error = ConnectError.from(thrown);
    return {
      code: Code[error.code],
      reason: error.findDetails(ErrorInfoSchema)[0]?.reason,
      help: error.findDetails(HelpSchema)[0]?.links[0]?.url,
    };
  }
}

/** The id of a model, by a method without side effects. */
async function model(url: string, key: string, protocol: Protocol) {
  return (await createClient(ModelService, transport(url, key, protocol)).getModel({ model: MODEL })).id;
}

/** The REST door by plain fetch: the streamed answer's last event. */
async function rest(url: string, key: string) {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${key}` },
    body: JSON.stringify({ model: MODEL, messages: [{ role: "user", content: "Say hello" }], stream: true }),
  });
  const events = (await response.text()).trim().split("\n\n");
  return { status: response.status, last: events.at(-1) };
}

/** Whether a page of this origin can read the catalogue at all, and with what status. */
async function reach(url: string) {
  try {
    return (await fetch(`${url}/v1/models`)).status;
  } catch {
    return "blocked";
  }
}

Object.assign(window, { calls: { unary, stream, failure, model, rest, reach } });
