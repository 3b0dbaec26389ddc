// What Node and browsers share. `featherwire/node` and `featherwire/web` make connections.

export { ChatAccumulator } from "./accumulator.js";
export { ChatStream } from "./chat_stream.js";
export { Client, type CallOptions, type ClientOptions } from "./client.js";
export { ErrorReason, FeatherwireError, IncompleteAnswerError } from "./errors.js";
