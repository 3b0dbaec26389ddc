// What a person does with a conversation.

import { signal } from "@preact/signals";
import { ask, endPane, runningCount } from "./run";
import {
  answerOf,
  closePane,
  compareWith,
  draft,
  forget,
  isOpen,
  panes,
  putAnswer,
  type Pane,
} from "./state";
import { newId, pathOf, withNode } from "./tree";
import { ROOT, type AnswerNode, type Picture, type PromptNode } from "./types";

/** The images that go with the next prompt. */
export const pictures = signal<Picture[]>([]);
/** The number of images that are being read. */
export const reading = signal(0);
/** Whether the prompt was sent while its images were being read. */
let isAwaited = false;

/** Adds an image to the next prompt once it is read. The prompt waits for it. */
export async function addPicture(picture: Promise<Picture>): Promise<void> {
  reading.value += 1;
  try {
    const read = await picture;
    pictures.value = [...pictures.peek(), read];
  } catch (error) {
    // What is sent without an image would be another question.
    isAwaited = false;
    throw error;
  } finally {
    reading.value -= 1;
    if (isAwaited && reading.peek() === 0) send();
  }
}

/** What is typed is not the prompt that was sent. */
export function keepTyping(text: string): void {
  isAwaited = false;
  draft.value = text;
}

/** The prompt is no longer for what is on the page, so it is not sent once its images are read. */
export function forgetSending(): void {
  isAwaited = false;
}

/** Sends what is typed to every pane. */
export function send(): void {
  isAwaited = reading.peek() > 0;
  if (isAwaited) return;
  const text = draft.peek().trim();
  const images = pictures.peek();
  if ((!text && images.length === 0) || runningCount.peek() > 0) return;
  const open = panes.peek().filter((pane) => pane.model.peek());
  if (open.length === 0) return;
  draft.value = "";
  pictures.value = [];
  for (const pane of open) {
    const last = pathOf(pane.tree.peek()).at(-1);
    ask(pane, addPrompt(pane, last?.id ?? ROOT, text, images));
  }
}

function addPrompt(pane: Pane, parent: string, text: string, pictures: Picture[]): string {
  const id = newId();
  const node: PromptNode = { id, parent, children: [], role: "user", text, pictures };
  pane.tree.value = withNode(pane.tree.peek(), node);
  return id;
}

/** Another answer to the same prompt, as a further branch. */
export function retry(pane: Pane, answer: AnswerNode): void {
  ask(pane, answer.parent);
}

/** Another version of a prompt, as a further branch. */
export function resend(pane: Pane, prompt: PromptNode, text: string): void {
  ask(pane, addPrompt(pane, prompt.parent, text, prompt.pictures));
}

/** Sends the results of the tools that an answer has called. */
export function answerCalls(pane: Pane, answer: AnswerNode, texts: string[]): void {
  const { calls } = answerOf(answer.id).peek();
  const results = calls.map(({ id, kind, name }, index) => {
    const result = { id, text: texts[index] ?? "" };
    return kind === "function_call" ? { ...result, name } : result;
  });
  const id = newId();
  pane.tree.value = withNode(pane.tree.peek(), {
    id,
    parent: answer.id,
    children: [],
    role: "tool",
    results,
  });
  ask(pane, id);
}

/** Leaves a comparison: the other pane stays, and the call of this one ends. */
export function leave(pane: Pane): void {
  forgetSending();
  endPane(pane);
  closePane(pane);
  forget(pane);
}

/** Puts a second model beside the first, or takes the second away. */
export function toggleComparison(): Pane | null {
  const [first, second] = panes.peek();
  if (second) {
    leave(second);
    return null;
  }
  compareWith(first?.model.peek() ?? "");
  const added = panes.peek()[1] ?? null;
  // The copy shows what has arrived, and is not continued by the call of the original.
  for (const node of Object.values(added?.tree.peek().nodes ?? {})) {
    const answer = answerOf(node.id).peek();
    if (isOpen(answer)) putAnswer(node.id, { ...answer, state: "stopped", endedAt: Date.now() });
  }
  return added;
}
