import type { Problem } from "../api/problem";

/** An image of a prompt, as a `data:` address. */
export interface Picture {
  name: string;
  url: string;
}

/** A part of an answer from engines that stream parts. */
export type Part = { type: "text"; text: string } | { type: "image_url"; url: string };

/** `custom` takes text. `function_call` is the form before there were tools: it has no id. */
export type CallKind = "function" | "custom" | "function_call";

export interface Call {
  id: string;
  kind: CallKind;
  name: string;
  /** What the model wrote: JSON, which may be invalid, or the text for a custom tool. */
  arguments: string;
}

/** In which member an engine sends the thoughts. They go back in the same. */
export type ThoughtsMember = "reasoning" | "reasoning_content";

/**
 * How an answer stands. `cut`: the connection or the page ended before the answer did. `stopped`:
 * the person at this page ended it.
 */
export type AnswerState = "waiting" | "streaming" | "done" | "stopped" | "cut" | "failed";

export interface Tokens {
  prompt?: number;
  completion?: number;
  reasoning?: number;
  cached?: number;
}

/** What the gateway reports of a call. */
export interface Report {
  model: string;
  tried: { model: string; reason: string }[];
  waitedMs: number;
  units: number;
  attempts: number;
  firstTokenMs?: number;
  upstreamId?: string;
}

/** How a call waits for units. */
export interface QueuePlace {
  /** The calls that start before. Unset: it has left the queue, and the model has not begun. */
  ahead?: number;
  waitedMs: number;
  units: number;
  /** When this arrived, in milliseconds since 1970. */
  at: number;
}

/** An answer, or what has arrived of it. Replaced as a whole at each change. */
export interface Answer {
  state: AnswerState;
  model: string;
  /** The text of the answer, also if it came in parts. */
  content: string;
  /** The parts of the answer in their order, if there were any. */
  parts?: Part[];
  reasoning: string;
  thoughtsMember?: ThoughtsMember;
  refusal: string;
  calls: Call[];
  /** While the answer arrives: which call the latest piece with an index was of, by the index. */
  callOfIndex?: Record<number, number>;
  finishReason?: string;
  tokens?: Tokens;
  report?: Report;
  /** Set while the call waits. */
  queue?: QueuePlace;
  problem?: Problem;
  /** Times in milliseconds since 1970. */
  sentAt: number;
  firstAt?: number;
  endedAt?: number;
  /** The number of pieces with text so far, about one for each token. */
  pieces: number;
  /** The JSON Schema to which the answer is held. JSON text. */
  schema?: string;
}

interface Common {
  id: string;
  parent: string;
  children: string[];
}

export type PromptNode = Common & { role: "user"; text: string; pictures: Picture[] };
export type AnswerNode = Common & { role: "assistant" };
/** What a tool gave. The name is set for a call in the form before there were tools. */
export interface Result {
  id: string;
  name?: string;
  text: string;
}
/** The results of an answer's tool calls, in their order. */
export type ResultsNode = Common & { role: "tool"; results: Result[] };
export type Node = PromptNode | AnswerNode | ResultsNode;

/** The parent of the first messages. */
export const ROOT = "";

/** The messages of one conversation. Each can have several continuations, of which one is shown. */
export interface Tree {
  nodes: Record<string, Node>;
  /** The first messages. */
  roots: string[];
  /** Which child of a message is shown, if it is not the last. */
  shown: Record<string, string>;
}

export type Format = "text" | "json_object" | "json_schema";
export type ParameterValue = number | string | boolean;

/** What goes with each prompt. Texts that hold JSON are as they were typed. */
export interface Settings {
  system: string;
  /** By the name of the field in the contract. An absent one is left to the model. */
  parameters: Record<string, ParameterValue>;
  tools: string;
  toolChoice: string;
  format: Format;
  schema: string;
  priority: "interactive" | "default" | "batch";
  fallbacks: string;
  noFallbacks: boolean;
  timeoutMs?: number;
  /** Further members of the request. */
  extra: string;
}

export const NO_SETTINGS: Settings = {
  system: "",
  parameters: {},
  tools: "",
  toolChoice: "",
  format: "text",
  schema: "",
  priority: "interactive",
  fallbacks: "",
  noFallbacks: false,
  extra: "",
};
