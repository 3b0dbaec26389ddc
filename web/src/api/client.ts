import type { DescService } from "@bufbuild/protobuf";
import { createClient, type Client, type Interceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { keyOf, type KeySlot } from "./key";

/** The address of the gateway: the folder of this page, without the slash at its end. */
export const ADDRESS = new URL(".", document.baseURI).href.replace(/\/$/, "");

/** `fetch`, whose own error is told from others: no answer has come. */
export class Unreachable extends Error {}

async function reach(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  try {
    return await fetch(input, init);
  } catch (error) {
    if (error instanceof TypeError) throw new Unreachable(error.message);
    throw error;
  }
}

function transport(slot: KeySlot) {
  const withKey: Interceptor = (next) => (request) => {
    const key = keyOf(slot);
    if (key) request.header.set("Authorization", `Bearer ${key}`);
    return next(request);
  };
  return createGrpcWebTransport({ baseUrl: ADDRESS, interceptors: [withKey], fetch: reach });
}

const transports = { calls: transport("calls"), administration: transport("administration") };

/** A client of a service by gRPC-Web, with the key of this slot. */
export function client<S extends DescService>(service: S, slot: KeySlot = "calls"): Client<S> {
  return createClient(service, transports[slot]);
}
