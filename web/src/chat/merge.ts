import type {
  ChatDelta,
  StreamChatCompletionResponse,
} from "../gen/featherwire/v1/chat_service_pb";
import type { ToolCall } from "../gen/featherwire/v1/chat_tools_pb";
import type { CallReport, QueuePosition } from "../gen/featherwire/v1/gateway_pb";
import type { Usage } from "../gen/featherwire/v1/usage_pb";
import type { Answer, Call, CallKind, Part, QueuePlace, Report, Tokens } from "./types";

/**
 * The answer with a further piece of its stream, which arrived at this time. `index` is its place
 * among the `n` answers.
 */
export function merged(
  answer: Answer,
  message: StreamChatCompletionResponse,
  index: number,
  at: number,
): Answer {
  const next = { ...answer };
  const queue = message.featherwire?.queue;
  if (queue) return { ...next, queue: placeOf(queue, at) };
  next.queue = undefined;
  if (message.model) next.model = message.model;
  if (message.usage) next.tokens = tokensOf(message.usage);
  if (message.featherwire) next.report = reportOf(message.featherwire);
  const choice = message.choices.find((choice) => choice.index === index);
  if (!choice) return next;
  if (choice.finishReason !== undefined) next.finishReason = choice.finishReason;
  const { delta } = choice;
  if (!delta) return next;
  const parts = partsOf(delta);
  const text = parts.map((part) => (part.type === "text" ? part.text : "")).join("");
  // Some engines send the same thoughts in both members.
  const thought = delta.reasoningContent || delta.reasoning || "";
  const refusal = (delta.refusal ?? "") + delta.contentParts.map((part) => part.refusal ?? "").join("");
  const calls = piecesOfCalls(delta);
  if (parts.length > 0 || thought || refusal || calls.length > 0) {
    next.pieces += 1;
    next.firstAt ??= at;
    next.state = "streaming";
  }
  if (answer.parts || delta.contentParts.length > 0) {
    const known = answer.parts ?? [{ type: "text", text: answer.content }];
    next.parts = parts.reduce(withPart, known.filter(isFull));
  }
  next.content += text;
  next.reasoning += thought;
  if (thought) next.thoughtsMember = delta.reasoningContent ? "reasoning_content" : "reasoning";
  next.refusal += refusal;
  for (const piece of calls) addCall(next, piece);
  return next;
}

function partsOf(delta: ChatDelta): Part[] {
  const parts = delta.contentParts.map((part): Part => {
    if (part.imageUrl?.url) return { type: "image_url", url: part.imageUrl.url };
    return { type: "text", text: part.text ?? "" };
  });
  return [{ type: "text" as const, text: delta.content ?? "" }, ...parts].filter(isFull);
}

function isFull(part: Part): boolean {
  return part.type !== "text" || part.text !== "";
}

/** The parts with a further one. Text goes on in the last part, if that is a text. */
function withPart(parts: Part[], part: Part): Part[] {
  const last = parts.at(-1);
  if (part.type !== "text" || last?.type !== "text") return [...parts, part];
  return [...parts.slice(0, -1), { type: "text", text: last.text + part.text }];
}

interface CallPiece {
  kind?: CallKind;
  id?: string;
  index?: number;
  name?: string;
  text: string;
}

function piecesOfCalls(delta: ChatDelta): CallPiece[] {
  const old = delta.functionCall;
  const pieces = delta.toolCalls.map(pieceOfCall);
  if (!old) return pieces;
  return [...pieces, { kind: "function_call", name: old.name, text: old.arguments ?? "" }];
}

function pieceOfCall({ id, index, type, function: called, custom }: ToolCall): CallPiece {
  return {
    kind: custom || type === "custom" ? "custom" : called ? "function" : undefined,
    id,
    index,
    name: called?.name ?? custom?.name,
    text: called?.arguments ?? custom?.input ?? "",
  };
}

/**
 * Adds a piece to its call: the pieces of a call have the same id. A piece without an id belongs to
 * the call that had its index last, or to the last call. The packages in `clients/` do the same.
 */
function addCall(answer: Answer, piece: CallPiece): void {
  const { calls, callOfIndex: places = {} } = answer;
  const { id, index, name = "", text } = piece;
  let place = calls.length - 1;
  if (piece.kind === "function_call") place = calls.findIndex(({ kind }) => kind === piece.kind);
  else if (id) place = calls.findIndex((call) => call.id === id);
  else if (index !== undefined) place = places[index] ?? -1;
  const known = calls[place];
  const next: Call = {
    id: id || known?.id || "",
    kind: piece.kind ?? known?.kind ?? "function",
    // Some engines repeat the name in each piece, others send it in pieces.
    name: known === undefined || known.name === name ? name : known.name + name,
    arguments: (known?.arguments ?? "") + text,
  };
  answer.calls = known ? calls.with(place, next) : [...calls, next];
  if (index === undefined) return;
  answer.callOfIndex = { ...places, [index]: known ? place : calls.length };
}

function tokensOf(usage: Usage): Tokens {
  return {
    prompt: usage.promptTokens,
    completion: usage.completionTokens,
    reasoning: usage.completionTokensDetails?.reasoningTokens,
    cached: usage.promptTokensDetails?.cachedTokens,
  };
}

function placeOf({ requestsAhead, waitedMs, units }: QueuePosition, at: number): QueuePlace {
  return { ahead: requestsAhead, waitedMs: Number(waitedMs), units, at };
}

function reportOf(report: CallReport): Report {
  return {
    model: report.model,
    tried: report.tried.map(({ model, reason }) => ({ model, reason })),
    waitedMs: Number(report.waitedMs),
    units: report.units,
    attempts: report.attempts,
    firstTokenMs: report.firstTokenMs === undefined ? undefined : Number(report.firstTokenMs),
    upstreamId: report.upstreamRequestId,
  };
}
