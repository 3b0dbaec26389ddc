// The services for administrators: `client.of(KeyService)` makes a client of one.

export * from "./gen/featherwire/admin/v1/key_pb.js";
export * from "./gen/featherwire/admin/v1/key_service_pb.js";
export * from "./gen/featherwire/admin/v1/usage_service_pb.js";
