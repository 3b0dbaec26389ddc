import { signal, type Signal } from "@preact/signals";
import { EMPTY, newId, pathOf, withNode } from "./tree";
import {
  NO_SETTINGS,
  type Answer,
  type AnswerNode,
  type Node,
  type Settings,
  type Tree,
} from "./types";

/** One conversation with one model. With two of them, the page compares. */
export interface Pane {
  id: string;
  model: Signal<string>;
  tree: Signal<Tree>;
}

export function newPane(model = "", tree: Tree = EMPTY): Pane {
  return { id: newId(), model: signal(model), tree: signal(tree) };
}

export const panes = signal<Pane[]>([newPane()]);
export const settings = signal<Settings>(NO_SETTINGS);
/** What is typed and not sent. */
export const draft = signal("");

/** The answers, by the id of their message. They change often, and the trees seldom. */
const answers = new Map<string, Signal<Answer>>();

const NO_ANSWER: Answer = {
  state: "cut",
  model: "",
  content: "",
  reasoning: "",
  refusal: "",
  calls: [],
  sentAt: 0,
  pieces: 0,
};

export function answerOf(id: string): Signal<Answer> {
  const known = answers.get(id);
  if (known) return known;
  const created = signal(NO_ANSWER);
  answers.set(id, created);
  return created;
}

export function putAnswer(id: string, answer: Answer): void {
  answerOf(id).value = answer;
}

export function isOpen(answer: Answer): boolean {
  return answer.state === "waiting" || answer.state === "streaming";
}

/** All answers of a tree, by the id of their message. */
export function answersOf(tree: Tree): Record<string, Answer> {
  const isAnswer = (node: Node): node is AnswerNode => node.role === "assistant";
  return Object.fromEntries(
    Object.values(tree.nodes)
      .filter(isAnswer)
      .map(({ id }) => [id, answerOf(id).peek()]),
  );
}

export function set(change: Partial<Settings>): void {
  settings.value = { ...settings.peek(), ...change };
}

/** Sets a parameter, or leaves it to the model. */
export function setParameter(
  name: string,
  value: Settings["parameters"][string] | undefined,
): void {
  const { [name]: _, ...others } = settings.peek().parameters;
  set({ parameters: value === undefined ? others : { ...others, [name]: value } });
}

/** Begins a conversation. The models and the settings stay. */
export function startOver(): void {
  for (const pane of panes.peek()) pane.tree.value = EMPTY;
  answers.clear();
}

/** Forgets the answers of a pane that is no longer shown. */
export function forget(pane: Pane): void {
  for (const id of Object.keys(pane.tree.peek().nodes)) answers.delete(id);
}

/** A second pane, which continues the same conversation. */
export function compareWith(model: string): void {
  const [first] = panes.peek();
  if (!first) return;
  panes.value = [first, newPane(model, copyOf(pathOf(first.tree.peek())))];
}

/** Leaves a comparison: the other pane stays. */
export function closePane(pane: Pane): void {
  panes.value = panes.peek().filter((other) => other !== pane);
}

/** The shown messages as a tree of their own, with ids of their own. */
function copyOf(path: Node[]): Tree {
  let tree = EMPTY;
  let parent = "";
  for (const node of path) {
    const id = newId();
    if (node.role === "assistant") putAnswer(id, answerOf(node.id).peek());
    tree = withNode(tree, { ...node, id, parent, children: [] });
    parent = id;
  }
  return tree;
}
