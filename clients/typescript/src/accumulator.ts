// Adds up the pieces of a streamed answer.

import { clone, create } from "@bufbuild/protobuf";
import {
  ChatAudioSchema,
  ChatMessageSchema,
  ContentPartSchema,
  type ChatAudio,
  type ChatMessage,
} from "./gen/featherwire/v1/chat_content_pb.js";
import {
  ChatChoiceSchema,
  CreateChatCompletionResponseSchema,
  type ChatChoice,
  type ChatChunkChoice,
  type ChatDelta,
  type StreamChatCompletionResponse,
} from "./gen/featherwire/v1/chat_service_pb.js";
import {
  CustomToolCallSchema,
  FunctionCallSchema,
  ToolCallSchema,
  type FunctionCall,
  type ToolCall,
} from "./gen/featherwire/v1/chat_tools_pb.js";
import { LogprobsSchema } from "./gen/featherwire/v1/logprobs_pb.js";
import { UsageSchema, type Usage } from "./gen/featherwire/v1/usage_pb.js";

/**
 * The answer so far. Texts and lists are joined, and of everything else the last value counts, also
 * of `extra`.
 */
export class ChatAccumulator {
  readonly #answer = create(CreateChatCompletionResponseSchema);
  readonly #choices = new Map<number, Choice>();

  /** Adds the next piece. */
  add(chunk: StreamChatCompletionResponse): void {
    // It tells how the call waits, and is no part of the answer.
    if (chunk.featherwire?.queue) return;
    const answer = this.#answer;
    answer.id ||= chunk.id;
    answer.created ||= chunk.created;
    answer.model ||= chunk.model;
    if (chunk.usage) answer.usage = merged(answer.usage, chunk.usage);
    setLast(answer, "serviceTier", chunk.serviceTier);
    setLast(answer, "systemFingerprint", chunk.systemFingerprint);
    setLast(answer, "moderation", chunk.moderation);
    setLast(answer, "featherwire", chunk.featherwire);
    Object.assign(answer.extra, chunk.extra);
    for (const piece of chunk.choices) {
      const choice = this.#choices.get(piece.index) ?? new Choice(piece.index);
      this.#choices.set(piece.index, choice);
      choice.add(piece);
    }
  }

  /** Whether the model has finished all answers that it has begun. */
  get isComplete(): boolean {
    const choices = [...this.#choices.values()];
    return choices.length > 0 && choices.every(({ sum }) => sum.finishReason);
  }

  /** The answer, as a unary call returns it. */
  answer() {
    const answer = clone(CreateChatCompletionResponseSchema, this.#answer);
    const choices = [...this.#choices.values()].map((choice) => choice.finish());
    answer.choices = choices.sort((a, b) => a.index - b.index);
    return answer;
  }
}

class Choice {
  readonly sum: ChatChoice;
  readonly #message: ChatMessage = create(ChatMessageSchema);
  readonly #callOfIndex = new Map<number, ToolCall>();

  constructor(index: number) {
    this.sum = create(ChatChoiceSchema, { index, message: this.#message });
  }

  add(piece: ChatChunkChoice): void {
    if (!this.sum.finishReason) setLast(this.sum, "finishReason", piece.finishReason);
    if (piece.logprobs) {
      const known = (this.sum.logprobs ??= create(LogprobsSchema));
      known.content.push(...piece.logprobs.content);
      known.refusal.push(...piece.logprobs.refusal);
      Object.assign(known.extra, piece.logprobs.extra);
    }
    Object.assign(this.sum.extra, piece.extra);
    if (piece.delta) this.#addDelta(piece.delta);
  }

  #addDelta(delta: ChatDelta): void {
    const message = this.#message;
    message.role ||= delta.role ?? "";
    this.#addContent(delta);
    join(message, "refusal", delta.refusal);
    join(message, "reasoning", delta.reasoning);
    join(message, "reasoningContent", delta.reasoningContent);
    message.annotations.push(...delta.annotations);
    Object.assign(message.extra, delta.extra);
    if (delta.audio) addAudio((message.audio ??= create(ChatAudioSchema)), delta.audio);
    if (delta.functionCall) {
      addFunction((message.functionCall ??= create(FunctionCallSchema)), delta.functionCall);
    }
    for (const call of delta.toolCalls) this.#addCall(call);
  }

  #addContent(delta: ChatDelta): void {
    const message = this.#message;
    const part = (text: string) => create(ContentPartSchema, { type: "text", text });
    if (delta.contentParts.length > 0) {
      // A message has one text or a list of parts, so earlier text becomes a part.
      if (message.content) message.contentParts.push(part(message.content));
      delete message.content;
      message.contentParts.push(...delta.contentParts);
    } else if (delta.content !== undefined && message.contentParts.length > 0) {
      message.contentParts.push(part(delta.content));
    } else {
      join(message, "content", delta.content);
    }
  }

  /** Adds a piece to its call: the call with its id or, without an id, with its index. */
  #addCall(piece: ToolCall): void {
    const calls = this.#message.toolCalls;
    let known: ToolCall | undefined;
    if (piece.id) known = calls.find(({ id }) => id === piece.id);
    else if (piece.index !== undefined) known = this.#callOfIndex.get(piece.index);
    else known = calls.at(-1);
    if (!known) calls.push((known = create(ToolCallSchema)));
    if (piece.index !== undefined) this.#callOfIndex.set(piece.index, known);
    if (piece.id) known.id = piece.id;
    if (piece.type) known.type = piece.type;
    if (piece.function) {
      addFunction((known.function ??= create(FunctionCallSchema)), piece.function);
    }
    if (piece.custom) {
      const custom = (known.custom ??= create(CustomToolCallSchema));
      joinName(custom, piece.custom.name);
      join(custom, "input", piece.custom.input);
      Object.assign(custom.extra, piece.custom.extra);
    }
    Object.assign(known.extra, piece.extra);
  }

  finish(): ChatChoice {
    const choice = clone(ChatChoiceSchema, this.sum);
    const message = choice.message;
    if (message) {
      message.role ||= "assistant";
      // A stream begins with an empty text, also if the model only calls tools.
      if (message.toolCalls.length > 0 && !message.content) delete message.content;
    }
    return choice;
  }
}

/** Counts that a later piece does not have stay. */
function merged(known: Usage | undefined, piece: Usage): Usage {
  const sum = { ...known, ...piece, extra: { ...known?.extra, ...piece.extra } };
  return clone(UsageSchema, sum);
}

function addAudio(known: ChatAudio, piece: ChatAudio): void {
  setLast(known, "id", piece.id);
  setLast(known, "expiresAt", piece.expiresAt);
  join(known, "data", piece.data);
  join(known, "transcript", piece.transcript);
  Object.assign(known.extra, piece.extra);
}

function addFunction(known: FunctionCall, piece: FunctionCall): void {
  joinName(known, piece.name);
  join(known, "arguments", piece.arguments);
  Object.assign(known.extra, piece.extra);
}

/** Some engines repeat the name in each piece, others send it in pieces. */
function joinName(known: { name?: string | undefined }, piece: string | undefined): void {
  if (known.name !== piece) join(known, "name", piece);
}

function join<K extends string>(
  known: { [name in K]?: string | undefined },
  name: K,
  piece: string | undefined,
): void {
  if (piece !== undefined) known[name] = (known[name] ?? "") + piece;
}

function setLast<K extends string, V>(
  known: { [name in K]?: V | undefined },
  name: K,
  value: V | undefined,
): void {
  if (value !== undefined) known[name] = value;
}
