// Connections from browsers, by gRPC-Web.

import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { Client, interceptors, limitOfClient, type ClientOptions } from "./client.js";

export * from "./index.js";

/** Connects to a gateway. Without an address, it is the one from which the page comes. */
export function connect(options: ClientOptions = {}): Client {
  return new Client(
    createGrpcWebTransport({
      baseUrl: options.address ?? location.origin,
      interceptors: interceptors(options.apiKey),
      ...limitOfClient(options.timeoutMs),
    }),
  );
}
