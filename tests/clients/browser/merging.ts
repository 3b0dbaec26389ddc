// What the page makes of the pieces of an answer: the same as the packages, by the same cases.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { fromJson } from "@bufbuild/protobuf";
import { StreamChatCompletionResponseSchema } from "../gen/featherwire/v1/chat_service_pb";
import { check } from "../node/checks.mjs";
import { merged } from "./merge-of-page.mjs";

const NOTHING = { model: "", content: "", reasoning: "", refusal: "", calls: [], pieces: 0 };

/** Both members of the thoughts come in one case, of which the page shows one. */
const thoughts = ({ reasoning, reasoningContent }) => reasoningContent ?? reasoning ?? "";

const calls = ({ toolCalls = [], functionCall }) => [
  ...toolCalls.map(({ id = "", function: called, custom }) => ({
    id,
    kind: custom ? "custom" : "function",
    name: (custom ?? called).name ?? "",
    arguments: custom?.input ?? called?.arguments ?? "",
  })),
  ...(functionCall ? [{ id: "", kind: "function_call", arguments: "", ...functionCall }] : []),
];

const parts = (message) =>
  message.contentParts
    ?.map(({ type, text, imageUrl }) => (imageUrl ? { type, url: imageUrl.url } : { type, text }))
    .filter(({ text, url }) => text || url);

const cases = JSON.parse(await readFile("packages/pieces.json", "utf8"));
for (const { name, chunks, answer } of cases) {
  for (const { index = 0, message } of answer.choices ?? []) {
    await check(`answer ${index} of the case "${name}"`, () => {
      const seen = chunks
        .map((chunk) => fromJson(StreamChatCompletionResponseSchema, chunk))
        .reduce((sum, chunk) => merged(sum, chunk, index, 0), NOTHING);
      assert.deepEqual(seen.calls, calls(message).map(({ extra, ...call }) => call));
      assert.equal(seen.reasoning, thoughts(message));
      assert.equal(seen.refusal, message.refusal ?? "");
      assert.deepEqual(seen.parts, parts(message));
      if (!message.contentParts) assert.equal(seen.content, message.content ?? "");
    });
  }
}
