// Programs that make the same call. They run as they stand: the address is that of this gateway,
// and the key comes from the environment.

import { toJsonString } from "@bufbuild/protobuf";
import { ADDRESS } from "../api/client";
import { CreateChatCompletionRequestSchema } from "../gen/featherwire/v1/chat_service_pb";
import { jsonText, RawJson, roundedNumbers } from "./raw-json";
import { messageOf, restBody, type Draft, type Json } from "./request";

export interface Snippet {
  name: string;
  language: string;
  /** What must be installed. */
  needs: string;
  text: string;
}

/** `hasKey`: whether the gateway needs a key. The key itself is in no snippet. */
export function snippetsOf(draft: Draft, hasKey: boolean): Snippet[] {
  const body = restBody(draft);
  return [
    { name: "curl", language: "sh", needs: "curl", text: curl(body, hasKey) },
    { name: "grpcurl", language: "sh", needs: "grpcurl", text: grpcurl(draft, hasKey) },
    { name: "Python", language: "python", needs: "pip install openai", text: python(body) },
    { name: "TypeScript", language: "ts", needs: "npm install openai", text: typescript(body) },
  ];
}

type Body = { [name: string]: Json };

/** A document in the shell, in which nothing is replaced. No line of JSON is this word alone. */
function here(json: string): string {
  return `<<'END'\n${json}\nEND`;
}

function curl(body: Body, hasKey: boolean): string {
  const key = hasKey ? `  -H "Authorization: Bearer $FEATHERWIRE_KEY" \\\n` : "";
  return (
    `curl -N ${ADDRESS}/v1/chat/completions \\\n` +
    `  -H 'Content-Type: application/json' \\\n${key}` +
    `  -d @- ${here(jsonText({ ...body, stream: true }))}\n`
  );
}

function grpcurl(draft: Draft, hasKey: boolean): string {
  const { protocol, host, port } = new URL(ADDRESS);
  const isTls = protocol === "https:";
  const target = port ? host : `${host}:${isTls ? 443 : 80}`;
  const key = hasKey ? `  -H "authorization: Bearer $FEATHERWIRE_KEY" \\\n` : "";
  const json = toJsonString(CreateChatCompletionRequestSchema, messageOf(draft, false), {
    prettySpaces: 2,
    useProtoFieldName: true,
  });
  return (
    `grpcurl ${isTls ? "" : "-plaintext "}-d @ \\\n${key}` +
    `  ${target} featherwire.v1.ChatService/StreamChatCompletion ${here(json)}\n`
  );
}

/** The members that the function of OpenAI's Python package takes. The others are extra. */
const PYTHON_ARGUMENTS = new Set([
  "model",
  "messages",
  "temperature",
  "top_p",
  "frequency_penalty",
  "presence_penalty",
  "seed",
  "logit_bias",
  "max_tokens",
  "max_completion_tokens",
  "stop",
  "n",
  "tools",
  "tool_choice",
  "parallel_tool_calls",
  "response_format",
  "verbosity",
  "reasoning_effort",
  "logprobs",
  "top_logprobs",
  "service_tier",
  "metadata",
  "safety_identifier",
  "prompt_cache_key",
]);

function python(body: Body): string {
  const members = Object.entries(body);
  const own = members.filter(([name]) => PYTHON_ARGUMENTS.has(name));
  const extra = members.filter(([name]) => !PYTHON_ARGUMENTS.has(name));
  const lines = own.map(([name, value]) => `    ${name}=${pythonValue(value, 1)},`);
  if (extra.length > 0) {
    lines.push(`    extra_body=${pythonValue(Object.fromEntries(extra), 1)},`);
  }
  return `import os

from openai import OpenAI

client = OpenAI(
    base_url=${pythonValue(`${ADDRESS}/v1`, 0)},
    api_key=os.environ.get("FEATHERWIRE_KEY", "none"),
)
stream = client.chat.completions.create(
${lines.join("\n")}
    stream=True,
)
for chunk in stream:
    for choice in chunk.choices:
        print(choice.delta.content or "", end="", flush=True)
print()
`;
}

function pythonValue(value: Json, depth: number): string {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "number") return String(value);
  if (typeof value === "string") return pythonText(value);
  if (value instanceof RawJson) return pythonRaw(value.text);
  const inner = "    ".repeat(depth + 1);
  const end = "    ".repeat(depth);
  if (Array.isArray(value)) {
    if (value.length === 0) return "[]";
    const items = value.map((item) => `${inner}${pythonValue(item, depth + 1)},\n`);
    return `[\n${items.join("")}${end}]`;
  }
  const members = Object.entries(value);
  if (members.length === 0) return "{}";
  const lines = members.map(
    ([name, item]) => `${inner}${pythonText(name)}: ${pythonValue(item, depth + 1)},\n`,
  );
  return `{\n${lines.join("")}${end}}`;
}

/** JSON and Python write texts in the same way, with the same escapes. */
function pythonText(text: string): string {
  return JSON.stringify(text);
}

const PYTHON_WORDS: Record<string, string> = { true: "True", false: "False", null: "None" };

function pythonRaw(json: string): string {
  return json.replace(/"(?:[^"\\]|\\.)*"|true|false|null/g, (token) =>
    token.startsWith('"') ? pythonText(JSON.parse(token) as string) : (PYTHON_WORDS[token] ?? token),
  );
}

function typescript(body: Body): string {
  const json = jsonText({ ...body, stream: true });
  const rounded = roundedNumbers(json);
  const note = rounded.length > 0 ? `// JavaScript rounds ${rounded.join(", ")}.\n` : "";
  return `import OpenAI from "openai";

const client = new OpenAI({
  baseURL: ${JSON.stringify(`${ADDRESS}/v1`)},
  apiKey: process.env.FEATHERWIRE_KEY ?? "none",
});
${note}const request = ${json} as OpenAI.ChatCompletionCreateParamsStreaming;
const stream = await client.chat.completions.create(request);
for await (const { choices } of stream) {
  for (const { delta } of choices) process.stdout.write(delta.content ?? "");
}
process.stdout.write("\\n");
`;
}
