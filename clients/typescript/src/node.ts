// Connections from Node, by gRPC.

import { readFileSync } from "node:fs";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { Client, interceptors, limitOfClient, type ClientOptions } from "./client.js";

export * from "./index.js";

const DEFAULT_ADDRESS = "http://127.0.0.1:8000";
/** A page of models, or an answer with audio. */
const MESSAGE_BYTES_MAX = 64 * 1024 * 1024;
/**
 * Pings find a connection that has broken silently, also while a model is silent. The gateway sends
 * such pings too, every 20 seconds.
 */
const PING_INTERVAL_MS = 30_000;
const PING_TIMEOUT_MS = 20_000;

/** Options of a connection from Node. */
export interface NodeOptions extends ClientOptions {
  /** A file with the authorities of the gateway's certificate (PEM). */
  ca?: string | undefined;
  /** A file with the certificate to show (PEM). */
  cert?: string | undefined;
  /** A file with the private key of `cert` (PEM). */
  certKey?: string | undefined;
}

/**
 * Connects to a gateway at the first call. Unset options are those of FEATHERWIRE_GATEWAY,
 * FEATHERWIRE_API_KEY, FEATHERWIRE_GATEWAY_CA, FEATHERWIRE_GATEWAY_CERT and
 * FEATHERWIRE_GATEWAY_CERT_KEY.
 */
export function connect(options: NodeOptions = {}): Client {
  const env = process.env;
  const address = options.address ?? env["FEATHERWIRE_GATEWAY"] ?? DEFAULT_ADDRESS;
  const read = (path: string | undefined) => (path ? readFileSync(path) : undefined);
  const tls = {
    ca: read(options.ca ?? env["FEATHERWIRE_GATEWAY_CA"]),
    cert: read(options.cert ?? env["FEATHERWIRE_GATEWAY_CERT"]),
    key: read(options.certKey ?? env["FEATHERWIRE_GATEWAY_CERT_KEY"]),
  };
  const isTls = address.startsWith("https://");
  return new Client(
    createGrpcTransport({
      baseUrl: address.includes("://") ? address : `http://${address}`,
      interceptors: interceptors(options.apiKey ?? env["FEATHERWIRE_API_KEY"]),
      ...limitOfClient(options.timeoutMs),
      ...(isTls ? { nodeOptions: withoutUnset(tls) } : {}),
      readMaxBytes: MESSAGE_BYTES_MAX,
      writeMaxBytes: MESSAGE_BYTES_MAX,
      pingIntervalMs: PING_INTERVAL_MS,
      pingTimeoutMs: PING_TIMEOUT_MS,
    }),
  );
}

function withoutUnset<T extends object>(values: T): { [K in keyof T]?: NonNullable<T[K]> } {
  const set = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(set) as { [K in keyof T]?: NonNullable<T[K]> };
}
