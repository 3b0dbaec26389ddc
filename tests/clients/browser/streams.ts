// Streams of answers as gRPC-Web sends them, for models that the emulator has not.

import { fromBinary, fromJson, toBinary, toJson, type JsonValue } from "@bufbuild/protobuf";
import {
  CreateChatCompletionRequestSchema,
  StreamChatCompletionResponseSchema,
} from "../gen/featherwire/v1/chat_service_pb";

/** Answers the page's next calls with these pieces of one answer, in the JSON of protobuf. */
export async function answersWith(page, deltas: JsonValue[], finishReason = "stop") {
  const chunks = [
    ...deltas.map((delta) => ({ choices: [{ delta }] })),
    { choices: [{ finishReason }] },
  ];
  await page.route("**/featherwire.v1.ChatService/StreamChatCompletion", (route) =>
    route.fulfill({
      headers: { "content-type": "application/grpc-web+proto" },
      body: Buffer.concat([...chunks.map(message), frame(0x80, Buffer.from("grpc-status: 0\r\n"))]),
    }),
  );
}

/** The next call that the page sends, in the JSON of protobuf with the names of the contract. */
export async function nextCall(page): Promise<JsonValue> {
  const request = await page.waitForRequest("**/featherwire.v1.ChatService/StreamChatCompletion");
  const body = request.postDataBuffer().subarray(HEAD_BYTES);
  const options = { useProtoFieldName: true };
  return toJson(
    CreateChatCompletionRequestSchema,
    fromBinary(CreateChatCompletionRequestSchema, body),
    options,
  );
}

/** A flag and the length. */
const HEAD_BYTES = 5;

function message(json: JsonValue): Buffer {
  const piece = fromJson(StreamChatCompletionResponseSchema, json);
  return frame(0, Buffer.from(toBinary(StreamChatCompletionResponseSchema, piece)));
}

function frame(flag: number, body: Buffer): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt8(flag, 0);
  head.writeUInt32BE(body.length, 1);
  return Buffer.concat([head, body]);
}
