import type { ActiveRequest } from "../gen/featherwire/v1/account_service_pb";

/** The number of colours for requests in the styles. */
export const COLOURS = 8;

let slots = new Map<string, number>();

/**
 * The number of each listed request, by its id: the smallest free one from 1 when it appears, and
 * the same until it is gone. So a request keeps its number and its colour while it runs.
 */
export function numberRequests(requests: readonly ActiveRequest[]): Map<string, number> {
  const ids = requests.map(idOf);
  const kept = new Map([...slots].filter(([id]) => ids.includes(id)));
  const taken = new Set(kept.values());
  for (const id of ids) {
    if (kept.has(id)) continue;
    let number = 1;
    while (taken.has(number)) number += 1;
    taken.add(number);
    kept.set(id, number);
  }
  slots = kept;
  return kept;
}

/** The id of a request, or what else tells it from others. */
export function idOf(request: ActiveRequest, index: number): string {
  return request.id ?? `${index} ${request.model ?? ""} ${request.startedAt ?? ""}`;
}

/** The colour of a number, from 1. */
export function colourOf(number: number): number {
  return ((number - 1) % COLOURS) + 1;
}
