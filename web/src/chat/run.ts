// Calls a model, and puts its answer into the tree while it arrives.

import { signal } from "@preact/signals";
import { client } from "../api/client";
import { isCancelled, problemOf, type Problem } from "../api/problem";
import { ChatService, type StreamChatCompletionResponse } from "../gen/featherwire/v1/chat_service_pb";
import { announce } from "../ui/announcer";
import { merged } from "./merge";
import { partsOf } from "./models";
import { messageOf, SettingsError } from "./request";
import { answerOf, isOpen, putAnswer, settings, type Pane } from "./state";
import { beforeKeep, keepSoon } from "./storage";
import { newId, pathTo, withNode } from "./tree";
import type { Answer } from "./types";

/** The raw events of one answer that are kept, so that a long answer does not fill the memory. */
const EVENTS_MAX = 5_000;
/** The bytes of the raw events of all answers, about. The oldest answers lose theirs first. */
const EVENTS_BYTES_MAX = 32_000_000;

export interface RawEvent {
  /** Milliseconds since the request was sent. */
  at: number;
  message: StreamChatCompletionResponse;
  /** About: the length of its texts, and a little for each other member. */
  bytes: number;
}

/** What a member of a message needs besides its text. */
const MEMBER_BYTES = 8;

/** The bytes of a message, about. To encode each piece again would be more work than to show it. */
function sizeOf(value: unknown): number {
  if (typeof value === "string") return MEMBER_BYTES + value.length;
  if (value instanceof Uint8Array) return MEMBER_BYTES + value.length;
  if (typeof value !== "object" || value === null) return MEMBER_BYTES;
  let bytes = MEMBER_BYTES;
  for (const name in value) bytes += sizeOf((value as Record<string, unknown>)[name]);
  return bytes;
}

/** The raw events by the id of the message. They are lost with the page. */
export const events = new Map<string, RawEvent[]>();
let eventsBytes = 0;

function addEvent(
  ids: string[],
  raw: RawEvent[],
  at: number,
  message: StreamChatCompletionResponse,
): void {
  if (raw.length >= EVENTS_MAX) return;
  const event = { at, message, bytes: sizeOf(message) };
  eventsBytes += event.bytes;
  for (const id of events.keys()) {
    if (eventsBytes <= EVENTS_BYTES_MAX) break;
    if (!running.has(id)) forgetEvents([id]);
  }
  if (eventsBytes > EVENTS_BYTES_MAX || !ids.some((id) => events.get(id) === raw)) {
    eventsBytes -= event.bytes;
    return;
  }
  raw.push(event);
}

function forgetEvents(ids: Iterable<string>): void {
  for (const id of ids) {
    const raw = events.get(id);
    if (!events.delete(id) || !raw || [...events.values()].includes(raw)) continue;
    for (const { bytes } of raw) eventsBytes -= bytes;
  }
}

/** Ends the calls of a pane that is left, and frees what belongs to its answers. */
export function endPane(pane: Pane): void {
  const ids = Object.keys(pane.tree.peek().nodes);
  ids.forEach(stop);
  forgetEvents(ids);
}

const running = new Map<string, AbortController>();
/** The number of calls that run. */
export const runningCount = signal(0);

/** Asks the model of the pane for an answer after the message `parent`. */
export function ask(pane: Pane, parent: string): void {
  const path = pathTo(pane.tree.peek(), parent);
  const now = settings.peek();
  const model = pane.model.peek();
  let request;
  try {
    request = messageOf({ model, path, settings: now }, true);
  } catch (error) {
    fail(pane, parent, model, error instanceof SettingsError ? error.message : String(error));
    return;
  }
  const sentAt = Date.now();
  const schema = now.format === "json_schema" ? now.schema : undefined;
  const ids = Array.from({ length: request.n ?? 1 }, () => newId());
  for (const id of ids) {
    putAnswer(id, empty(model, sentAt, schema));
    pane.tree.value = withNode(pane.tree.peek(), {
      id,
      parent,
      children: [],
      role: "assistant",
    });
  }
  // The first of several answers is shown.
  pane.tree.value = {
    ...pane.tree.peek(),
    shown: { ...pane.tree.peek().shown, [parent]: ids[0]! },
  };
  const abort = new AbortController();
  for (const id of ids) running.set(id, abort);
  runningCount.value += 1;
  void follow(ids, request, abort.signal).finally(() => {
    for (const id of ids) running.delete(id);
    runningCount.value -= 1;
    keepSoon();
  });
}

/** Ends the call of an answer. What has arrived stays. */
export function stop(id: string): void {
  running.get(id)?.abort();
}

export function stopAll(): void {
  for (const abort of running.values()) abort.abort();
}

async function follow(
  ids: string[],
  request: ReturnType<typeof messageOf>,
  abort: AbortSignal,
): Promise<void> {
  const sentAt = answerOf(ids[0]!).peek().sentAt;
  const raw: RawEvent[] = [];
  for (const id of ids) events.set(id, raw);
  const frame = new Frame();
  try {
    for await (const message of client(ChatService).streamChatCompletion(request, {
      signal: abort,
    })) {
      addEvent(ids, raw, Date.now() - sentAt, message);
      frame.add(ids, message);
    }
    frame.end();
    end(ids, "done");
  } catch (error) {
    frame.end();
    if (abort.aborted || isCancelled(error)) end(ids, "stopped");
    else end(ids, "failed", problemOf(error));
  }
}

/** Without a frame for so long, the pieces are merged anyway: pages in the background draw none. */
const FRAME_MS_MAX = 100;

/** Collects the pieces of one frame of the screen, so that each frame changes the answer once. */
class Frame {
  #pieces: { id: string; index: number; message: StreamChatCompletionResponse; at: number }[] = [];
  #timer = 0;
  #frame = 0;
  #first?: string;

  constructor() {
    beforeKeep.add(this.flush);
  }

  end(): void {
    this.flush();
    beforeKeep.delete(this.flush);
  }

  add(ids: string[], message: StreamChatCompletionResponse): void {
    const at = Date.now();
    this.#first = ids[0];
    ids.forEach((id, index) => this.#pieces.push({ id, index, message, at }));
    this.#timer ||= window.setTimeout(this.flush, FRAME_MS_MAX);
    this.#frame ||= requestAnimationFrame(this.flush);
  }

  flush = (): void => {
    clearTimeout(this.#timer);
    cancelAnimationFrame(this.#frame);
    this.#timer = this.#frame = 0;
    const changed = new Map<string, Answer>();
    for (const { id, index, message, at } of this.#pieces) {
      changed.set(id, merged(changed.get(id) ?? answerOf(id).peek(), message, index, at));
    }
    this.#pieces = [];
    for (const [id, answer] of changed) {
      const before = answerOf(id).peek();
      putAnswer(id, answer);
      // Of several answers of one call, the first is shown.
      if (id === this.#first) tell(id, answer, answer.content.slice(before.content.length));
    }
    if (changed.size > 0) keepSoon();
  };
}

function end(ids: string[], state: "done" | "stopped" | "failed", problem?: Problem): void {
  const endedAt = Date.now();
  for (const id of ids) {
    const answer = answerOf(id).peek();
    if (!isOpen(answer)) continue;
    // A part of an answer has arrived: the answer is cut, and the problem says why.
    const isCut = state === "failed" && answer.firstAt !== undefined;
    const { callOfIndex: _, ...kept } = answer;
    putAnswer(id, { ...kept, state: isCut ? "cut" : state, endedAt, problem });
  }
  const words = { done: "", stopped: " Stopped.", failed: ` ${problem?.title ?? ""}` };
  const [first] = ids;
  if (first) tell(first, answerOf(first).peek(), words[state], true);
}

/** Tells a screen reader of an answer. */
function tell(id: string, { model }: Answer, text: string, isEnd = false): void {
  announce(id, partsOf(model)[1], text, isEnd);
}

function empty(model: string, sentAt: number, schema?: string): Answer {
  return {
    state: "waiting",
    model,
    content: "",
    reasoning: "",
    refusal: "",
    calls: [],
    sentAt,
    pieces: 0,
    schema,
  };
}

/** An answer that was not asked for, because a setting is wrong. */
function fail(pane: Pane, parent: string, model: string, text: string): void {
  const id = newId();
  const now = Date.now();
  const problem: Problem = {
    title: "A setting cannot be sent",
    text,
    advice: "Correct it in the settings, and try again.",
    reason: "INVALID_VALUE",
    canRetry: true,
    fields: [],
    links: [],
  };
  putAnswer(id, { ...empty(model, now), state: "failed", endedAt: now, problem });
  pane.tree.value = withNode(pane.tree.peek(), { id, parent, children: [], role: "assistant" });
  keepSoon();
}
