// A streamed answer.

import { ChatAccumulator } from "./accumulator.js";
import { IncompleteAnswerError } from "./errors.js";
import type {
  CreateChatCompletionResponse,
  StreamChatCompletionResponse,
} from "./gen/featherwire/v1/chat_service_pb.js";

/**
 * A streamed answer: iterate over its text, or over its `chunks`.
 *
 * It ends without an error only if the answer is complete. Leaving the loop, `close` and the signal
 * of the call end the call, also in the gateway and at Featherless.
 */
export class ChatStream implements AsyncIterable<string> {
  readonly #chunks: AsyncIterable<StreamChatCompletionResponse>;
  readonly #call: AbortController;
  readonly #sum = new ChatAccumulator();
  #isComplete = false;

  constructor(chunks: AsyncIterable<StreamChatCompletionResponse>, call: AbortController) {
    this.#chunks = chunks;
    this.#call = call;
  }

  /** The pieces of the first answer's text. */
  async *[Symbol.asyncIterator](): AsyncGenerator<string, void, undefined> {
    for await (const { choices } of this.chunks()) {
      const first = choices.filter(({ index }) => index === 0);
      const text = first.map(({ delta }) => delta?.content ?? "").join("");
      if (text) yield text;
    }
  }

  /** The pieces as the gateway sends them, with everything besides the text. */
  async *chunks(): AsyncGenerator<StreamChatCompletionResponse, void, undefined> {
    try {
      for await (const chunk of this.#chunks) {
        this.#sum.add(chunk);
        yield chunk;
      }
      this.#isComplete = !this.#call.signal.aborted && this.#sum.isComplete;
    } catch (error) {
      throw this.#call.signal.aborted ? new IncompleteAnswerError() : error;
    } finally {
      this.#call.abort();
    }
    if (!this.#isComplete) throw new IncompleteAnswerError();
  }

  /** Reads the rest, and returns the answer: its message, tool calls and usage. */
  async read(): Promise<CreateChatCompletionResponse> {
    if (!this.#call.signal.aborted) {
      for await (const _ of this.chunks());
    }
    return this.answer;
  }

  /** The answer, after the end of the stream. Before it, see `soFar`. */
  get answer(): CreateChatCompletionResponse {
    if (!this.#isComplete) throw new IncompleteAnswerError();
    return this.#sum.answer();
  }

  /** What has come, complete or not. */
  get soFar(): CreateChatCompletionResponse {
    return this.#sum.answer();
  }

  /** Ends the call. Does nothing after its end. */
  close(): void {
    this.#call.abort();
  }
}
