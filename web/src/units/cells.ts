import type { Concurrency } from "../gen/featherwire/v1/account_service_pb";
import { idOf } from "./slots";

export type Use = "own" | "outside" | "busy" | "settling" | "free";

/** One unit of the account. */
export interface Cell {
  use: Use;
  /** The number of the request that holds it, if that is known. */
  request?: number;
  /** Whether it belongs to the same request as the cell before it. */
  isJoined: boolean;
}

/** How many units are used for what. */
export interface Uses {
  own: number;
  settling: number;
  outside: number;
  /** Unset without a limit. */
  free?: number;
  capacity?: number;
}

export function usesOf(picture: Concurrency): Uses {
  const gateway = picture.gateway;
  const own = gateway?.inUse ?? 0;
  const settling = gateway?.settling ?? 0;
  const outside = gateway ? gateway.outside : (picture.usedCost ?? 0);
  const capacity = gateway?.capacity ?? (picture.unlimited ? undefined : picture.limit);
  const free =
    capacity === undefined ? undefined : Math.max(0, capacity - own - settling - outside);
  return { own, settling, outside, free, capacity };
}

/** The units of the account one by one: those of requests first, then settling, then free ones. */
export function cellsOf(picture: Concurrency, numbers: Map<string, number>): Cell[] {
  const { own, settling, outside, free } = usesOf(picture);
  // Featherless does not tell who has sent a request. It is certain only if all are of one side.
  const use: Use = outside === 0 ? "own" : own === 0 ? "outside" : "busy";
  const cells: Cell[] = [];
  picture.requests.forEach((request, index) => {
    const number = numbers.get(idOf(request, index));
    for (let unit = 0; unit < (request.cost ?? 0); unit += 1) {
      cells.push({ use, request: number, isJoined: unit > 0 });
    }
  });
  // The list is up to two seconds old. The gateway's own numbers are newer.
  const busy = own + outside;
  cells.length = Math.min(cells.length, busy);
  const add = (use: Use, until: number) => {
    while (cells.length < until) cells.push({ use, isJoined: false });
  };
  add(use, busy);
  add("settling", busy + settling);
  add("free", busy + settling + (free ?? 0));
  return cells;
}

/** What the cells show, in words. */
export function describe({ own, settling, outside, free, capacity }: Uses): string {
  const parts = [`${own} in use by this gateway`];
  if (settling > 0) parts.push(`${settling} settling`);
  if (outside > 0) parts.push(`${outside} in use by other processes`);
  if (free !== undefined) parts.push(`${free} free`);
  const head = capacity === undefined ? "No limit of units" : `${capacity} units`;
  return `${head}: ${parts.join(", ")}`;
}
