// The catalogue of models, page by page from the gateway.

import { signal } from "@preact/signals";
import { client } from "../api/client";
import { ModelService, type Model } from "../gen/featherwire/v1/model_service_pb";

const PAGE_SIZE = 50;

export interface Filter {
  search: string;
  onPlan: boolean;
  ungated: boolean;
}

export interface Page {
  models: Model[];
  next: string;
  total: number;
}

/** Every model that a page has shown, by its id. */
export const known = signal<ReadonlyMap<string, Model>>(new Map());

function remember(models: Model[]): void {
  known.value = new Map([...known.peek(), ...models.map((model) => [model.id, model] as const)]);
}

export async function listModels(filter: Filter, token: string, abort: AbortSignal): Promise<Page> {
  const answer = await client(ModelService).listModels(
    {
      pageSize: PAGE_SIZE,
      pageToken: token,
      filter: {
        search: filter.search.trim(),
        availableOnCurrentPlan: filter.onPlan || undefined,
        gated: filter.ungated ? false : undefined,
      },
    },
    { signal: abort },
  );
  remember(answer.models);
  return {
    models: answer.models,
    next: answer.nextPageToken ?? "",
    total: answer.totalSize ?? answer.models.length,
  };
}

/** What the catalogue knows of a model. An unknown model is no error here: its call tells. */
export async function learnModel(id: string): Promise<void> {
  if (!id || known.peek().has(id)) return;
  try {
    remember([await client(ModelService).getModel({ model: id })]);
  } catch {
    // As above.
  }
}

/** Where a model for the first visit is searched: models of known makers, and then all. */
const FIRST_SEARCHES = ["mistralai/", "Qwen/", "instruct", ""];

/**
 * A model for the first visit: loaded, on the plan, small, and made for conversations. Empty if the
 * catalogue has none.
 */
export async function firstModel(): Promise<string> {
  const abort = new AbortController();
  let best: Model | undefined;
  for (const search of FIRST_SEARCHES) {
    const filter = { search, onPlan: true, ungated: false };
    const { models } = await listModels(filter, "", abort.signal);
    for (const model of models) if (!best || rank(model) < rank(best)) best = model;
    if (best && rank(best) < RANK_GOOD) break;
  }
  return best?.id ?? "";
}

/** A model of this rank needs no better one. */
const RANK_GOOD = 10;

function rank(model: Model): number {
  const isForChat = /instruct|chat|-it\b/i.test(model.id);
  const isLoaded = model.availability?.isHotLive ?? false;
  const faults = [!isForChat, !isLoaded, model.isGated].filter(Boolean).length;
  return faults * RANK_GOOD + (model.concurrencyCost ?? RANK_GOOD - 1);
}

/** The organisation and the name of an id. */
export function partsOf(id: string): [string, string] {
  const slash = id.indexOf("/");
  return slash < 0 ? ["", id] : [id.slice(0, slash), id.slice(slash + 1)];
}

/** A number of tokens, short: 16384 is 16K. */
export function shortTokens(count: number): string {
  if (count < 1000) return String(count);
  if (count < 1_000_000) return `${Math.round(count / 1024)}K`;
  return `${Math.round(count / 104_857.6) / 10}M`;
}

/** A number of parameters, short: 8030000000 is 8B. */
export function shortSize(count: bigint): string {
  const billions = Number(count) / 1e9;
  return billions >= 10 ? `${Math.round(billions)}B` : `${Math.round(billions * 10) / 10}B`;
}
