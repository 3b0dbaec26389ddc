// The client, without the transport, which differs in Node and in browsers.

import { clone, create, type DescService, type MessageInitShape } from "@bufbuild/protobuf";
import {
  createClient,
  type Client as ServiceClient,
  type Interceptor,
  type Transport,
} from "@connectrpc/connect";
import { ChatStream } from "./chat_stream.js";
import { FeatherwireError } from "./errors.js";
import { AccountService } from "./gen/featherwire/v1/account_service_pb.js";
import { CallerService } from "./gen/featherwire/v1/caller_service_pb.js";
import {
  ChatService,
  CreateChatCompletionRequestSchema,
  StreamOptionsSchema,
} from "./gen/featherwire/v1/chat_service_pb.js";
import { CompletionService } from "./gen/featherwire/v1/completion_service_pb.js";
import { EmbeddingService } from "./gen/featherwire/v1/embedding_service_pb.js";
import {
  ModelService,
  type Model,
  type ModelFilterSchema,
} from "./gen/featherwire/v1/model_service_pb.js";

const MODELS_PER_PAGE = 1000;

/** A timer with a longer time ends at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** Where the gateway is, and how it is called. */
export interface ClientOptions {
  /** The gateway's address, with https:// if it has TLS. */
  address?: string | undefined;
  /** The gateway key. */
  apiKey?: string | undefined;
  /** The longest time that a call may take, unless the call has its own. 0 or less is no limit. */
  timeoutMs?: number | undefined;
}

/** Options of one call. */
export interface CallOptions {
  /** The longest time that the call may take. 0 or less is no limit, also of the client. */
  timeoutMs?: number;
  /** Cancels the call. */
  signal?: AbortSignal;
}

/** A connection to a gateway. All its methods throw `FeatherwireError`. */
export class Client {
  /** The chats. See also `streamChat`. */
  readonly chats: ServiceClient<typeof ChatService>;
  /** Text completions. */
  readonly completions: ServiceClient<typeof CompletionService>;
  /** Embeddings. */
  readonly embeddings: ServiceClient<typeof EmbeddingService>;
  /** The catalogue of models. See also `models`. */
  readonly catalogue: ServiceClient<typeof ModelService>;
  /** The plan of the account, and its concurrency units. */
  readonly account: ServiceClient<typeof AccountService>;
  /** The caller's own key. */
  readonly caller: ServiceClient<typeof CallerService>;

  /** `connect` of `featherwire/node` and of `featherwire/web` makes the transport. */
  constructor(readonly transport: Transport) {
    this.chats = this.of(ChatService);
    this.completions = this.of(CompletionService);
    this.embeddings = this.of(EmbeddingService);
    this.catalogue = this.of(ModelService);
    this.account = this.of(AccountService);
    this.caller = this.of(CallerService);
  }

  /** The client of any service, such as those of `featherwire/admin`. */
  of<S extends DescService>(service: S): ServiceClient<S> {
    return typed(service, createClient(service, this.transport));
  }

  /** A complete answer. */
  chat(request: MessageInitShape<typeof CreateChatCompletionRequestSchema>, options?: CallOptions) {
    return this.chats.createChatCompletion(request, options);
  }

  /** An answer in pieces. Its usage is requested unless `streamOptions` says otherwise. */
  streamChat(
    request: MessageInitShape<typeof CreateChatCompletionRequestSchema>,
    options: CallOptions = {},
  ): ChatStream {
    // A copy, because the caller's message must not change.
    const asked = clone(
      CreateChatCompletionRequestSchema,
      create(CreateChatCompletionRequestSchema, request),
    );
    asked.streamOptions ??= create(StreamOptionsSchema);
    asked.streamOptions.includeUsage ??= true;
    const call = new AbortController();
    return new ChatStream(this.chats.streamChatCompletion(asked, endedBy(call, options)), call);
  }

  /** All models, which are requested in pages. `timeoutMs` is for each page. */
  async *models(
    filter?: MessageInitShape<typeof ModelFilterSchema>,
    options?: CallOptions,
  ): AsyncGenerator<Model, void, undefined> {
    let pageToken = "";
    do {
      const request = { pageSize: MODELS_PER_PAGE, pageToken, ...(filter && { filter }) };
      const page = await this.catalogue.listModels(request, options);
      yield* page.models;
      pageToken = page.nextPageToken ?? "";
    } while (pageToken);
  }
}

/** Every transport sends the key. */
export function interceptors(apiKey: string | undefined): Interceptor[] {
  return [
    (next) => (request) => {
      if (apiKey) request.header.set("Authorization", `Bearer ${apiKey}`);
      return next(request);
    },
  ];
}

/**
 * The client with the errors of this package, and with streams that end when their loop is left:
 * Connect does not end them. Interceptors do not see all errors: Connect itself ends a call at its
 * deadline.
 */
function typed<S extends DescService>(service: S, client: ServiceClient<S>): ServiceClient<S> {
  type Method = (request: unknown, options?: CallOptions) => unknown;
  const methods = client as Record<string, Method>;
  const wrapped = service.methods.map(({ localName, methodKind }) => {
    const method = methods[localName] as Method;
    const unary: Method = (request, options) =>
      (method(request, limited(options)) as Promise<unknown>).catch((error) => {
        throw FeatherwireError.of(error);
      });
    const stream: Method = (request, options) => messages(method, request, options);
    return [localName, methodKind === "unary" ? unary : stream];
  });
  return Object.fromEntries(wrapped) as ServiceClient<S>;
}

async function* messages(
  method: (request: unknown, options: CallOptions) => unknown,
  request: unknown,
  options: CallOptions | undefined,
): AsyncGenerator<unknown> {
  const call = new AbortController();
  const stream = method(request, endedBy(call, options)) as AsyncIterable<unknown>;
  const iterator = stream[Symbol.asyncIterator]();
  try {
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) {
      yield next.value;
    }
  } catch (error) {
    throw FeatherwireError.of(error);
  } finally {
    call.abort();
    await end(iterator);
  }
}

/** Reads the end of an ended call: only then Connect stops the timer of its deadline. */
async function end(iterator: AsyncIterator<unknown>): Promise<void> {
  try {
    while (!(await iterator.next()).done);
  } catch {
    // It ends with the error that it was ended.
  }
}

/** The options of a call that `call` can end too. */
function endedBy(call: AbortController, options: CallOptions = {}): CallOptions {
  const signal = options.signal ? AbortSignal.any([options.signal, call.signal]) : call.signal;
  return limited({ ...options, signal });
}

/** The options of a call without a time that a timer cannot have, such as `Infinity`. */
function limited<O extends CallOptions | undefined>(options: O): O {
  const isEndless = options?.timeoutMs !== undefined && options.timeoutMs > TIMER_MS_MAX;
  // For Connect, 0 is no limit in a call.
  return isEndless ? { ...options, timeoutMs: 0 } : options;
}

/** The limit of all calls, as Connect takes it: there, 0 is over at once. */
export function limitOfClient(timeoutMs: number | undefined): { defaultTimeoutMs?: number } {
  const isLimit = timeoutMs !== undefined && timeoutMs > 0 && timeoutMs <= TIMER_MS_MAX;
  return isLimit ? { defaultTimeoutMs: timeoutMs } : {};
}
