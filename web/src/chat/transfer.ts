// Conversations as JSON: for files, and for the storage of this tab. A file can hold anything, and so
// can what another version of the page has kept: each member is checked, and replaced if it is not of
// its kind.

import type { Problem } from "../api/problem";
import { PARAMETERS } from "./parameters";
import { answersOf, isOpen, putAnswer, type Pane } from "./state";
import { newId } from "./tree";
import {
  NO_SETTINGS,
  ROOT,
  type Answer,
  type Call,
  type Node,
  type ParameterValue,
  type Part,
  type Picture,
  type Report,
  type Settings,
  type Tokens,
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
  const kept = members(value);
  if (kept.form !== FORM) throw new Error("This is not a conversation of Featherwire.");
  if (kept.version !== VERSION) throw new Error("Another version of the page has written this.");
  const panes = list(kept.panes).slice(0, 2).map(paneOf);
  if (panes.length === 0) throw new Error("This file has no conversation.");
  for (const { answers } of panes) {
    for (const [id, answer] of Object.entries(answers)) putAnswer(id, answer);
  }
  return {
    form: FORM,
    version: VERSION,
    panes,
    settings: settingsOf(kept.settings),
    draft: text(kept.draft),
  };
}

/**
 * A conversation with only the messages that can be reached from its beginning, each once, and with
 * ids of its own: those of a file may be in use.
 */
function paneOf(value: unknown): Kept["panes"][number] {
  const pane = members(value);
  const tree = members(pane.tree);
  const sources = members(tree.nodes);
  const givenAnswers = members(pane.answers);
  const shown = members(tree.shown);
  const nodes: Record<string, Node> = {};
  const answers: Record<string, Answer> = {};
  const ids = new Map([[ROOT, ROOT]]);
  const roots: string[] = [];
  // Not by a call for each level: a conversation can be long.
  const open = list(tree.roots).map((id) => ({ id, parent: ROOT, siblings: roots }));
  for (const { id: given, parent, siblings } of open) {
    const known = text(given);
    const source = members(own(sources, known));
    const node = ids.has(known) ? undefined : nodeOf(source, newId(), parent);
    if (!node) continue;
    ids.set(known, node.id);
    nodes[node.id] = node;
    siblings.push(node.id);
    if (node.role === "assistant") answers[node.id] = answerOf(own(givenAnswers, known));
    for (const id of list(source.children)) {
      open.push({ id, parent: node.id, siblings: node.children });
    }
  }
  const pairs = Object.entries(shown).map(([id, child]) => [ids.get(id), ids.get(text(child))]);
  const known = pairs.filter(([id, child]) => id !== undefined && child);
  return {
    model: text(pane.model),
    tree: { nodes, roots, shown: Object.fromEntries(known) as Record<string, string> },
    answers,
  };
}

function nodeOf(source: Members, id: string, parent: string): Node | undefined {
  const common = { id, parent, children: [] as string[] };
  switch (source.role) {
    case "user":
      return {
        ...common,
        role: "user",
        text: text(source.text),
        pictures: list(source.pictures).flatMap(pictureOf),
      };
    case "assistant":
      return { ...common, role: "assistant" };
    case "tool": {
      const results = list(source.results)
        .map(members)
        .map(({ id, name, text: given }) => ({ id: text(id), name: text(name), text: text(given) }));
      return { ...common, role: "tool", results };
    }
    default:
      return undefined;
  }
}

/** The page loads images from nowhere else. */
function pictureOf(value: unknown): Picture[] {
  const { name, url } = members(value);
  return isImage(url) ? [{ name: text(name), url }] : [];
}

function isImage(url: unknown): url is string {
  return typeof url === "string" && url.startsWith("data:image/");
}

const STATES = ["waiting", "streaming", "done", "stopped", "cut", "failed"] as const;

function answerOf(value: unknown): Answer {
  const source = members(value);
  const answer: Answer = {
    state: oneOf(source.state, STATES) ?? "cut",
    model: text(source.model),
    content: text(source.content),
    parts: optional(source.parts, (parts) => list(parts).flatMap(partOf)),
    reasoning: text(source.reasoning),
    thoughtsMember: oneOf(source.thoughtsMember, ["reasoning", "reasoning_content"] as const),
    refusal: text(source.refusal),
    calls: list(source.calls).map(callOf),
    finishReason: optional(source.finishReason, text),
    tokens: optional(source.tokens, tokensOf),
    report: optional(source.report, reportOf),
    problem: optional(source.problem, problemOf),
    sentAt: count(source.sentAt) ?? 0,
    firstAt: count(source.firstAt),
    endedAt: count(source.endedAt),
    pieces: count(source.pieces) ?? 0,
    schema: optional(source.schema, text),
  };
  return isOpen(answer) ? { ...answer, state: "cut", problem: CUT } : answer;
}

function callOf(value: unknown): Call {
  const { id, kind, name, arguments: given } = members(value);
  return {
    id: text(id),
    kind: oneOf(kind, ["function", "custom", "function_call"] as const) ?? "function",
    name: text(name),
    arguments: text(given),
  };
}

function partOf(value: unknown): Part[] {
  const { type, text: words, url } = members(value);
  if (type === "image_url" && typeof url === "string") return [{ type, url }];
  return type === "text" ? [{ type, text: text(words) }] : [];
}

function tokensOf(value: unknown): Tokens {
  const { prompt, completion, reasoning, cached } = members(value);
  return {
    prompt: count(prompt),
    completion: count(completion),
    reasoning: count(reasoning),
    cached: count(cached),
  };
}

function reportOf(value: unknown): Report {
  const source = members(value);
  return {
    model: text(source.model),
    tried: list(source.tried)
      .map(members)
      .map(({ model, reason }) => ({ model: text(model), reason: text(reason) })),
    waitedMs: count(source.waitedMs) ?? 0,
    units: count(source.units) ?? 0,
    attempts: count(source.attempts) ?? 0,
    firstTokenMs: count(source.firstTokenMs),
    upstreamId: optional(source.upstreamId, text),
  };
}

function problemOf(value: unknown): Problem {
  const source = members(value);
  const pairs = (of: unknown) => list(of).map(members);
  return {
    title: text(source.title) || "The call failed",
    text: text(source.text),
    advice: text(source.advice),
    reason: text(source.reason),
    retryAt: count(source.retryAt),
    canRetry: source.canRetry === true,
    fields: pairs(source.fields).map((one) => ({ field: text(one.field), text: text(one.text) })),
    links: pairs(source.links).map((one) => ({ text: text(one.text), url: text(one.url) })),
  };
}

function settingsOf(value: unknown): Settings {
  const source = members(value);
  const known = Object.entries(members(source.parameters)).filter(
    (pair): pair is [string, ParameterValue] =>
      PARAMETERS.has(pair[0]) && ["number", "string", "boolean"].includes(typeof pair[1]),
  );
  const timeoutMs = count(source.timeoutMs);
  return {
    system: text(source.system),
    parameters: Object.fromEntries(known),
    tools: text(source.tools),
    toolChoice: text(source.toolChoice),
    format: oneOf(source.format, ["text", "json_object", "json_schema"] as const) ?? "text",
    schema: text(source.schema),
    priority:
      oneOf(source.priority, ["interactive", "default", "batch"] as const) ?? NO_SETTINGS.priority,
    fallbacks: text(source.fallbacks),
    noFallbacks: source.noFallbacks === true,
    timeoutMs: timeoutMs && Math.ceil(timeoutMs),
    extra: text(source.extra),
  };
}

type Members = Record<string, unknown>;

function members(value: unknown): Members {
  return typeof value === "object" && value !== null ? (value as Members) : {};
}

/** A member of the file itself, and not of every object. */
function own(source: Members, name: string): unknown {
  return Object.hasOwn(source, name) ? source[name] : undefined;
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** A number that is 0 or more. */
function count(value: unknown): number | undefined {
  const isCount = typeof value === "number" && value >= 0 && value <= Number.MAX_SAFE_INTEGER;
  return isCount ? value : undefined;
}

function optional<T>(value: unknown, read: (value: unknown) => T): T | undefined {
  return value === undefined || value === null ? undefined : read(value);
}

function oneOf<T>(value: unknown, choices: readonly T[]): T | undefined {
  return choices.find((choice) => choice === value);
}
