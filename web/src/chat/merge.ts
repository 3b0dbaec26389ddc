import type {
  ChatDelta,
  StreamChatCompletionResponse,
} from "../gen/featherwire/v1/chat_service_pb";
import type { ToolCall } from "../gen/featherwire/v1/chat_tools_pb";
import type { CallReport } from "../gen/featherwire/v1/gateway_pb";
import type { Usage } from "../gen/featherwire/v1/usage_pb";
import type { Answer, Call, Report, Tokens } from "./types";

/** The answer with a further piece of its stream. `index` is its place among the `n` answers. */
export function merged(
  answer: Answer,
  message: StreamChatCompletionResponse,
  index: number,
): Answer {
  const next = { ...answer };
  if (message.model) next.model = message.model;
  if (message.usage) next.tokens = tokensOf(message.usage);
  if (message.featherwire) next.report = reportOf(message.featherwire);
  const choice = message.choices.find((choice) => choice.index === index);
  if (!choice) return next;
  if (choice.finishReason !== undefined) next.finishReason = choice.finishReason;
  const { delta } = choice;
  if (!delta) return next;
  const text = textOf(delta);
  const thought = (delta.reasoningContent ?? "") + (delta.reasoning ?? "");
  if (text || thought || delta.refusal || delta.toolCalls.length > 0) {
    next.pieces += 1;
    next.firstAt ??= Date.now();
    next.state = "streaming";
  }
  next.content += text;
  next.reasoning += thought;
  next.refusal += delta.refusal ?? "";
  if (delta.toolCalls.length > 0) next.calls = delta.toolCalls.reduce(withCall, answer.calls);
  return next;
}

/** The text of a piece. Images that a model makes become Markdown. */
function textOf(delta: ChatDelta): string {
  const parts = delta.contentParts.map((part) => {
    if (part.imageUrl?.url) return `\n\n![image](${part.imageUrl.url})\n\n`;
    return part.text ?? "";
  });
  return (delta.content ?? "") + parts.join("");
}

/**
 * The calls with a further piece of one: the pieces of a call have the same id. A piece without an
 * id belongs to the last call with its index, or to the last call.
 */
function withCall(calls: Call[], piece: ToolCall): Call[] {
  const place = piece.id
    ? calls.findIndex(({ id }) => id === piece.id)
    : piece.index !== undefined && piece.index < calls.length
      ? piece.index
      : calls.length - 1;
  const name = piece.function?.name ?? piece.custom?.name ?? "";
  const text = piece.function?.arguments ?? piece.custom?.input ?? "";
  const known = calls[place];
  if (!known) return [...calls, { id: piece.id ?? "", name, arguments: text }];
  const next = { ...known, name: known.name || name, arguments: known.arguments + text };
  return calls.map((call) => (call === known ? next : call));
}

function tokensOf(usage: Usage): Tokens {
  return {
    prompt: usage.promptTokens,
    completion: usage.completionTokens,
    reasoning: usage.completionTokensDetails?.reasoningTokens,
    cached: usage.promptTokensDetails?.cachedTokens,
  };
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
