// Conversations as JSON: for files, and for the storage of this tab.

import type { Problem } from "../api/problem";
import { answersOf, isOpen, putAnswer, type Pane } from "./state";
import {
  NO_SETTINGS,
  ROOT,
  type Answer,
  type Node,
  type Picture,
  type Settings,
  type Tree,
} from "./types";

const FORM = "featherwire-conversation";
const VERSION = 1;

export interface Kept {
  form: typeof FORM;
  version: number;
  panes: { model: string; tree: Tree; answers: Record<string, Answer> }[];
  settings: Settings;
  draft: string;
}

export function written(panes: Pane[], settings: Settings, draft: string): Kept {
  return {
    form: FORM,
    version: VERSION,
    panes: panes.map((pane) => {
      const tree = pane.tree.peek();
      return { model: pane.model.peek(), tree, answers: answersOf(tree) };
    }),
    settings,
    draft,
  };
}

const CUT: Problem = {
  title: "The page was closed before the answer ended",
  text: "",
  advice: "What had arrived is kept. Try again for a complete answer.",
  reason: "PAGE_CLOSED",
  canRetry: true,
  fields: [],
  links: [],
};

/** Reads what `written` made, and puts its answers in place. Throws an error in words. */
export function read(value: unknown): Kept {
  const kept = value as Partial<Kept> | null;
  if (typeof kept !== "object" || kept?.form !== FORM) {
    throw new Error("This is not a conversation of Featherwire.");
  }
  if (kept.version !== VERSION) throw new Error("Another version of the page has written this.");
  const panes = (kept.panes ?? []).slice(0, 2).map((pane) => {
    const tree = checkedTree(pane.tree);
    for (const [id, answer] of Object.entries(pane.answers ?? {})) {
      if (!(id in tree.nodes)) continue;
      putAnswer(id, isOpen(answer) ? { ...answer, state: "cut", problem: CUT } : answer);
    }
    return { model: String(pane.model), tree, answers: {} };
  });
  if (panes.length === 0) throw new Error("This file has no conversation.");
  return {
    form: FORM,
    version: VERSION,
    panes,
    settings: { ...NO_SETTINGS, ...kept.settings },
    draft: String(kept.draft ?? ""),
  };
}

/** A tree with only the messages that can be reached from its beginning, each once. */
function checkedTree(tree: Tree): Tree {
  const nodes: Record<string, Node> = {};
  const take = (ids: string[] | undefined, parent: string): string[] =>
    (ids ?? []).filter((id) => {
      const node = tree.nodes[id];
      if (!node || id in nodes || !["user", "assistant", "tool"].includes(node.role)) return false;
      const copy = { ...node, id, parent };
      if (copy.role === "user") copy.pictures = (copy.pictures ?? []).filter(isPicture);
      nodes[id] = copy;
      copy.children = take(node.children, id);
      return true;
    });
  const roots = take(tree?.roots, ROOT);
  return { nodes, roots, shown: { ...tree?.shown } };
}

/** The page loads images from nowhere else. */
function isPicture({ url }: Picture): boolean {
  return typeof url === "string" && url.startsWith("data:image/");
}
