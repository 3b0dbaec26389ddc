// Keeps the conversation in the session storage of this tab, so that a reload does not lose it.

import { effect, signal } from "@preact/signals";
import { draft, newPane, panes, settings } from "./state";
import { read, written, type Kept } from "./transfer";

const NAME = "featherwire.chat";
const PAUSE_MS = 1_000;

/** Why the conversation is not kept, in words. */
export const storageProblem = signal("");

/** What must be done before the page is kept for the last time. */
export const beforeKeep = new Set<() => void>();

let timer = 0;

/** Writes the conversation soon. Many changes are written once. */
export function keepSoon(): void {
  timer ||= window.setTimeout(keep, PAUSE_MS);
}

function keep(): void {
  clearTimeout(timer);
  timer = 0;
  const kept = written(panes.peek(), settings.peek(), draft.peek());
  // The storage of a tab has a few megabytes, and images are the largest part.
  const attempts: [() => Kept, string][] = [
    [() => kept, ""],
    [() => withoutPictures(kept), "Images are too large to survive a reload of this page."],
  ];
  for (const [value, problem] of attempts) {
    try {
      sessionStorage.setItem(NAME, JSON.stringify(value()));
      storageProblem.value = problem;
      return;
    } catch {
      storageProblem.value = "The conversation is too large to survive a reload: export it.";
    }
  }
}

function withoutPictures(kept: Kept): Kept {
  const copy = structuredClone(kept);
  for (const { tree, answers } of copy.panes) {
    for (const node of Object.values(tree.nodes)) if (node.role === "user") node.pictures = [];
    for (const answer of Object.values(answers)) {
      answer.parts = answer.parts?.filter(({ type }) => type === "text");
    }
  }
  return copy;
}

/** Restores the conversation of this tab, and keeps each change from then on. */
export function restore(): void {
  try {
    const text = sessionStorage.getItem(NAME);
    if (text) {
      const kept = read(JSON.parse(text));
      panes.value = kept.panes.map(({ model, tree }) => newPane(model, tree));
      settings.value = kept.settings;
      draft.value = kept.draft;
    }
  } catch {
    // What another version has written is not worth an error.
    sessionStorage.removeItem(NAME);
  }
  effect(() => {
    for (const pane of panes.value) void [pane.model.value, pane.tree.value];
    void [settings.value, draft.value];
    keepSoon();
  });
  let isLeft = false;
  const keepNow = () => {
    // A page that is left becomes invisible too, when its calls have already ended.
    if (isLeft) return;
    for (const prepare of beforeKeep) prepare();
    keep();
  };
  addEventListener("pagehide", () => (keepNow(), (isLeft = true)));
  addEventListener("pageshow", () => (isLeft = false));
  // A browser may end a page in the background without a further event.
  document.addEventListener("visibilitychange", () => document.hidden && keepNow());
}
