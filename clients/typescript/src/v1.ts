// The messages, enums and services of the contract.

export * from "./gen/featherwire/v1/account_service_pb.js";
export * from "./gen/featherwire/v1/caller_service_pb.js";
export * from "./gen/featherwire/v1/chat_content_pb.js";
export * from "./gen/featherwire/v1/chat_service_pb.js";
export * from "./gen/featherwire/v1/chat_tools_pb.js";
export * from "./gen/featherwire/v1/completion_service_pb.js";
export * from "./gen/featherwire/v1/embedding_service_pb.js";
export * from "./gen/featherwire/v1/errors_pb.js";
export * from "./gen/featherwire/v1/gateway_pb.js";
export * from "./gen/featherwire/v1/key_limits_pb.js";
export * from "./gen/featherwire/v1/key_usage_pb.js";
export * from "./gen/featherwire/v1/logprobs_pb.js";
export * from "./gen/featherwire/v1/model_service_pb.js";
export * from "./gen/featherwire/v1/text_input_pb.js";
export * from "./gen/featherwire/v1/usage_pb.js";
