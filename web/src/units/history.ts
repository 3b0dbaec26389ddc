import { effect, signal } from "@preact/signals";
import { liveUnits } from "../api/units";
import { usesOf } from "./cells";

/** How far the history goes back. It is in the memory of this page only. */
export const HISTORY_MS = 120_000;

export interface Sample {
  at: number;
  own: number;
  settling: number;
  outside: number;
  waiting: number;
  capacity?: number;
}

/** The pictures of the last two minutes, oldest first. */
export const history = signal<readonly Sample[]>([]);

// It grows also while another view is shown.
effect(() => {
  const { state, picture, at } = liveUnits.value;
  if (state !== "live" || !picture) return;
  const { own, settling, outside, capacity } = usesOf(picture);
  const sample = {
    at,
    own,
    settling,
    outside,
    capacity,
    waiting: waitingOf(picture.gateway?.queued),
  };
  const kept = history.peek().filter((older) => older.at > at - HISTORY_MS && older.at < at);
  history.value = [...kept, sample];
});

interface Queued {
  interactive: number;
  default: number;
  batch: number;
}

/** The number of waiting requests of all classes. */
export function waitingOf(queued: Queued | undefined): number {
  return (queued?.interactive ?? 0) + (queued?.default ?? 0) + (queued?.batch ?? 0);
}
