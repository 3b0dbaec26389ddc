// A request in two forms: the JSON of REST for snippets, and the message for the call.

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  CreateChatCompletionRequestSchema,
  type CreateChatCompletionRequest,
} from "../gen/featherwire/v1/chat_service_pb";
import { Priority } from "../gen/featherwire/v1/gateway_pb";
import { isObject, PARAMETERS, problemOfValue, type Parameter } from "./parameters";
import { RawJson, rawMembers } from "./raw-json";
import { answerOf } from "./state";
import type { Answer, Call, Node, ParameterValue, Part, Settings } from "./types";

type Init = MessageInitShape<typeof CreateChatCompletionRequestSchema>;
type MessageInit = NonNullable<Init["messages"]>[number];
export type Json =
  null | boolean | number | string | RawJson | Json[] | { [name: string]: Json };
type JsonObject = { [name: string]: Json };

/** A setting that cannot be sent. */
export class SettingsError extends Error {
  override name = "SettingsError";
}

export interface Draft {
  model: string;
  path: Node[];
  settings: Settings;
}

/** The request as the JSON of REST, without options of the page itself. */
export function restBody({ model, path, settings }: Draft): JsonObject {
  const body: JsonObject = { model, messages: messages(path, settings.system) };
  for (const [parameter, value] of given(settings))
    body[parameter.name] = decoded(parameter, value);
  const tools = toolsOf(settings);
  if (tools.length > 0) {
    body.tools = tools;
    if (settings.toolChoice) body.tool_choice = toolChoice(settings.toolChoice);
  }
  const format = formatOf(settings);
  if (format) body.response_format = format;
  body.featherwire = optionsOf(settings);
  for (const [name, text] of extraOf(settings)) body[name] = new RawJson(text);
  return body;
}

/** The request as a message. `report` asks for the usage, the gateway's report, and the queue. */
export function messageOf(draft: Draft, report: boolean): CreateChatCompletionRequest {
  const { model, path, settings } = draft;
  const init: Record<string, unknown> = {
    model,
    messages: messages(path, settings.system).map(toInit),
  };
  for (const [parameter, value] of given(settings)) {
    init[camelCase(parameter.name)] = encoded(parameter, value);
  }
  const tools = toolsOf(settings);
  if (tools.length > 0) {
    init.tools = tools.map(toTool);
    if (settings.toolChoice) {
      const choice = toolChoice(settings.toolChoice);
      init.toolChoiceKind =
        typeof choice === "string"
          ? { case: "toolChoice", value: choice }
          : {
              case: "toolChoiceObject",
              value: { type: "function", function: { name: settings.toolChoice } },
            };
    }
  }
  if (settings.format !== "text") {
    const schema = settings.format === "json_schema" ? settings.schema : undefined;
    init.responseFormat = {
      type: settings.format,
      jsonSchema: schema === undefined ? undefined : { name: "answer", schema, strict: true },
    };
  }
  const { fallbacks, no_fallbacks, timeout_ms } = optionsOf(settings);
  init.featherwire = {
    fallbacks,
    noFallbacks: no_fallbacks,
    timeoutMs: typeof timeout_ms === "number" ? BigInt(timeout_ms) : undefined,
    priority: PRIORITIES[settings.priority],
    report: report || undefined,
    queue: report || undefined,
  };
  if (report) init.streamOptions = { includeUsage: true };
  init.extra = Object.fromEntries(extraOf(settings));
  return create(CreateChatCompletionRequestSchema, init as Init);
}

const PRIORITIES = {
  interactive: Priority.INTERACTIVE,
  default: Priority.DEFAULT,
  batch: Priority.BATCH,
} as const;

/** The conversation as messages of REST. Answers without anything in them are left out. */
function messages(path: Node[], system: string): JsonObject[] {
  const list: JsonObject[] = [];
  if (system.trim()) list.push({ role: "system", content: system });
  for (const node of path) {
    if (node.role === "user") {
      list.push({ role: "user", content: contentOf(node.text, node.pictures) });
    } else if (node.role === "tool") {
      for (const { id, name, text } of node.results) {
        const of: JsonObject = name ? { role: "function", name } : { role: "tool", tool_call_id: id };
        list.push({ ...of, content: text });
      }
    } else {
      const message = messageOfAnswer(answerOf(node.id).peek());
      if (message) list.push(message);
    }
  }
  return list;
}

/** An answer as the model said it: what the page makes of it for the eye goes to no model. */
function messageOfAnswer(answer: Answer): JsonObject | undefined {
  const { content, parts, reasoning, refusal, calls } = answer;
  const isWordless = !content && !parts?.length;
  if (isWordless && !reasoning && !refusal && calls.length === 0) return undefined;
  const message: JsonObject = { role: "assistant" };
  if (parts?.length) message.content = parts.map(partOf);
  else message.content = content || (refusal || calls.length > 0 ? null : "");
  if (reasoning) message[answer.thoughtsMember ?? "reasoning_content"] = reasoning;
  if (refusal) message.refusal = refusal;
  const tools = calls.filter(({ kind }) => kind !== "function_call");
  if (tools.length > 0) message.tool_calls = tools.map(callOf);
  const old = calls.find(({ kind }) => kind === "function_call");
  if (old) message.function_call = { name: old.name, arguments: old.arguments };
  return message;
}

function partOf(part: Part): JsonObject {
  if (part.type === "text") return { ...part };
  return { type: part.type, image_url: { url: part.url } };
}

function callOf({ id, kind, name, arguments: given }: Call): JsonObject {
  if (kind === "custom") return { id, type: kind, custom: { name, input: given } };
  return { id, type: "function", function: { name, arguments: given } };
}

function contentOf(text: string, pictures: { url: string }[]): Json {
  if (pictures.length === 0) return text;
  const images = pictures.map(({ url }) => ({ type: "image_url", image_url: { url } }));
  return text ? [{ type: "text", text }, ...images] : images;
}

/** A message of REST as one of protobuf. */
function toInit(message: JsonObject): MessageInit {
  const content = message.content;
  const calls = (message.tool_calls ?? []) as { id: string; type: string; function?: object }[];
  return {
    role: String(message.role),
    name: message.name as string | undefined,
    refusal: message.refusal as string | undefined,
    reasoning: message.reasoning as string | undefined,
    reasoningContent: message.reasoning_content as string | undefined,
    functionCall: message.function_call as object | undefined,
    content: typeof content === "string" ? content : undefined,
    contentParts: Array.isArray(content) ? content.map(toPart) : [],
    toolCallId: message.tool_call_id as string | undefined,
    toolCalls: calls,
  };
}

function toPart(part: Json) {
  const { type, text, image_url } = part as {
    type: string;
    text?: string;
    image_url?: { url: string };
  };
  return { type, text, imageUrl: image_url };
}

/** A tool of REST as one of protobuf, in which schemas are JSON text. */
function toTool(tool: JsonObject): NonNullable<Init["tools"]>[number] {
  const { type, function: definition, ...others } = tool;
  if (!isMembers(definition)) {
    return { type: type as string | undefined, extra: texts(others) };
  }
  const { name, description, parameters, strict, ...more } = definition;
  return {
    type: type as string | undefined,
    function: {
      name: name as string | undefined,
      description: description as string | undefined,
      parameters: parameters === undefined ? undefined : JSON.stringify(parameters),
      strict: strict as boolean | undefined,
      extra: texts(more),
    },
    extra: texts(others),
  };
}

function texts(members: JsonObject): Record<string, string> {
  return Object.fromEntries(
    Object.entries(members).map(([name, value]) => [name, JSON.stringify(value)]),
  );
}

function given(settings: Settings): [Parameter, ParameterValue][] {
  return Object.entries(settings.parameters).map(([name, value]) => {
    const parameter = PARAMETERS.get(name);
    if (!parameter) throw new SettingsError(`${name} is not a parameter of this page.`);
    const problem = problemOfValue(parameter, value);
    if (problem) throw new SettingsError(`${parameter.label}: ${problem}`);
    return [parameter, value];
  });
}

function decoded(parameter: Parameter, value: ParameterValue): Json {
  switch (parameter.kind) {
    case "lines":
      return linesOf(String(value));
    case "integers":
      return String(value).split(",").map(Number);
    case "json":
      return JSON.parse(String(value)) as Json;
    default:
      return value;
  }
}

function encoded(parameter: Parameter, value: ParameterValue): unknown {
  if (parameter.name === "chat_template_kwargs") return value;
  if (parameter.name === "seed") return BigInt(Number(value));
  return decoded(parameter, value);
}

export function linesOf(text: string): string[] {
  return text.split("\n").filter((line) => line.trim() !== "");
}

/** The tools of the settings, which are a JSON list of tools, or of functions alone. */
export function toolsOf(settings: Settings): JsonObject[] {
  if (!settings.tools.trim()) return [];
  let value: unknown;
  try {
    value = JSON.parse(settings.tools);
  } catch (error) {
    throw new SettingsError(`Tools: this is not JSON. ${(error as Error).message}`);
  }
  const list = Array.isArray(value) ? value : [value];
  return list.map((tool: unknown) => {
    if (typeof tool !== "object" || tool === null || Array.isArray(tool)) {
      throw new SettingsError("Tools: a list of objects is needed.");
    }
    const isFunction = "name" in tool && !("function" in tool);
    const made = (isFunction ? { type: "function", function: tool } : tool) as JsonObject;
    for (const [member, kind] of TOOL_MEMBERS) checkKind(made, member, kind);
    const inner = made.function;
    if (isMembers(inner)) for (const [member, kind] of FUNCTION_MEMBERS) checkKind(inner, member, kind);
    return made;
  });
}

/** The members of tools that have a kind in the contract. */
const TOOL_MEMBERS = [["type", "string"]] as const;
const FUNCTION_MEMBERS = [
  ["name", "string"],
  ["description", "string"],
  ["strict", "boolean"],
] as const;

function checkKind(members: JsonObject, name: string, kind: string): void {
  const value = members[name];
  if (value === undefined || typeof value === kind) return;
  throw new SettingsError(`Tools: ${name} is not a ${kind}.`);
}

function isMembers(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function toolChoice(choice: string): Json {
  const isMode = ["auto", "none", "required"].includes(choice);
  return isMode ? choice : { type: "function", function: { name: choice } };
}

function formatOf({ format, schema }: Settings): JsonObject | undefined {
  if (format === "text") return undefined;
  if (format === "json_object") return { type: format };
  if (!isObject(schema)) throw new SettingsError("JSON Schema: this is not a JSON object.");
  return {
    type: format,
    json_schema: { name: "answer", schema: JSON.parse(schema) as Json, strict: true },
  };
}

function optionsOf(settings: Settings) {
  const options: {
    priority: string;
    fallbacks?: string[];
    no_fallbacks?: boolean;
    timeout_ms?: number;
  } = { priority: settings.priority };
  const fallbacks = linesOf(settings.fallbacks).map((line) => line.trim());
  if (settings.noFallbacks) options.no_fallbacks = true;
  else if (fallbacks.length > 0) options.fallbacks = fallbacks;
  if (settings.timeoutMs) options.timeout_ms = settings.timeoutMs;
  return options;
}

/** The members that have a setting of their own, or that the page needs itself. */
const OWN_MEMBERS = new Set([
  ...PARAMETERS.keys(),
  "model",
  "messages",
  "stream",
  "stream_options",
  "tools",
  "tool_choice",
  "response_format",
  "featherwire",
]);

/** The further members with their values as they were typed. */
export function extraOf({ extra }: Settings): Map<string, string> {
  if (!extra.trim()) return new Map();
  if (!isObject(extra)) throw new SettingsError("Further members: this is not a JSON object.");
  const found = rawMembers(extra);
  for (const name of found.keys()) {
    if (OWN_MEMBERS.has(name)) {
      throw new SettingsError(`Further members: ${name} has its place elsewhere on this page.`);
    }
  }
  return found;
}

function camelCase(name: string): string {
  return name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
