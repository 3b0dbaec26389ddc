// The parameters of a request, with the ranges of the contract.

interface Common {
  /** The name of the field in the contract. */
  name: string;
  label: string;
  hint: string;
}

export type Parameter = Common &
  (
    | { kind: "number"; min?: number; max?: number; step: number; slider?: boolean; usual?: number }
    | { kind: "choice"; choices: readonly string[] }
    | { kind: "switch" }
    | { kind: "text"; placeholder?: string }
    | { kind: "lines"; placeholder: string }
    | { kind: "integers"; placeholder: string }
    | { kind: "json"; placeholder: string }
  );

export interface Group {
  title: string;
  parameters: readonly Parameter[];
}

export const GROUPS: readonly Group[] = [
  {
    title: "Sampling",
    parameters: [
      {
        name: "temperature",
        label: "Temperature",
        hint: "0 always takes the most likely token.",
        kind: "number",
        min: 0,
        max: 2,
        step: 0.05,
        slider: true,
        usual: 1,
      },
      {
        name: "top_p",
        label: "Top P",
        hint: "Only the most likely tokens with this total probability.",
        kind: "number",
        min: 0.01,
        max: 1,
        step: 0.01,
        slider: true,
        usual: 1,
      },
      {
        name: "top_k",
        label: "Top K",
        hint: "Only the k most likely tokens; -1 for all.",
        kind: "number",
        min: -1,
        step: 1,
      },
      {
        name: "min_p",
        label: "Min P",
        hint: "Only tokens with this share of the most likely token's probability.",
        kind: "number",
        min: 0,
        max: 1,
        step: 0.01,
        slider: true,
        usual: 0,
      },
      {
        name: "frequency_penalty",
        label: "Frequency penalty",
        hint: "Against tokens in proportion to how often they appeared.",
        kind: "number",
        min: -2,
        max: 2,
        step: 0.1,
        slider: true,
        usual: 0,
      },
      {
        name: "presence_penalty",
        label: "Presence penalty",
        hint: "Against tokens that have appeared.",
        kind: "number",
        min: -2,
        max: 2,
        step: 0.1,
        slider: true,
        usual: 0,
      },
      {
        name: "repetition_penalty",
        label: "Repetition penalty",
        hint: "Multiplies; 1 is neutral.",
        kind: "number",
        min: 0.01,
        step: 0.01,
      },
      { name: "seed", label: "Seed", hint: "For repeatable sampling.", kind: "number", step: 1 },
    ],
  },
  {
    title: "Length and end",
    parameters: [
      {
        name: "max_tokens",
        label: "Max tokens",
        hint: "The largest number of tokens to generate.",
        kind: "number",
        min: 1,
        step: 1,
      },
      {
        name: "max_completion_tokens",
        label: "Max completion tokens",
        hint: "The newer name. It includes reasoning tokens.",
        kind: "number",
        min: 1,
        step: 1,
      },
      {
        name: "min_tokens",
        label: "Min tokens",
        hint: "Tokens before the answer may stop.",
        kind: "number",
        min: 0,
        step: 1,
      },
      {
        name: "stop",
        label: "Stop texts",
        hint: "One in each line.",
        kind: "lines",
        placeholder: "###",
      },
      {
        name: "stop_token_ids",
        label: "Stop token ids",
        hint: "Separated by commas.",
        kind: "integers",
        placeholder: "128001, 128009",
      },
      {
        name: "include_stop_str_in_output",
        label: "Keep the stop text",
        hint: "The stop text stays in the answer.",
        kind: "switch",
      },
      {
        name: "n",
        label: "Answers",
        hint: "Each becomes a branch.",
        kind: "number",
        min: 1,
        max: 128,
        step: 1,
      },
    ],
  },
  {
    title: "Reasoning and style",
    parameters: [
      {
        name: "reasoning_effort",
        label: "Reasoning effort",
        hint: "The amount of reasoning.",
        kind: "choice",
        choices: ["none", "minimal", "low", "medium", "high", "xhigh", "max"],
      },
      {
        name: "verbosity",
        label: "Verbosity",
        hint: "The length of the answer.",
        kind: "choice",
        choices: ["low", "medium", "high"],
      },
      {
        name: "chat_template_kwargs",
        label: "Arguments of the chat template",
        hint: "A JSON object.",
        kind: "json",
        placeholder: '{"enable_thinking": true}',
      },
    ],
  },
  {
    title: "Probabilities",
    parameters: [
      {
        name: "logprobs",
        label: "Log probabilities",
        hint: "They are in the raw events.",
        kind: "switch",
      },
      {
        name: "top_logprobs",
        label: "Alternatives for each token",
        hint: "Needs log probabilities.",
        kind: "number",
        min: 0,
        max: 20,
        step: 1,
      },
      {
        name: "logit_bias",
        label: "Logit bias",
        hint: "Token id and bias, as a JSON object.",
        kind: "json",
        placeholder: '{"128009": -100}',
      },
    ],
  },
  {
    title: "Caching and tier",
    parameters: [
      {
        name: "prompt_cache_key",
        label: "Prompt cache key",
        hint: "The same for requests that share a prefix.",
        kind: "text",
      },
      {
        name: "safety_identifier",
        label: "Safety identifier",
        hint: "A hash of the end user's id.",
        kind: "text",
      },
      { name: "service_tier", label: "Service tier", hint: "Such as auto.", kind: "text" },
    ],
  },
];

export const PARAMETERS: ReadonlyMap<string, Parameter> = new Map(
  GROUPS.flatMap((group) => group.parameters).map((parameter) => [parameter.name, parameter]),
);

/** What is wrong with a typed value, in words, or nothing. */
export function problemOfValue(parameter: Parameter, value: unknown): string {
  switch (parameter.kind) {
    case "number": {
      const { min, max, step } = parameter;
      if (typeof value !== "number" || Number.isNaN(value)) return "This is not a number.";
      if (step === 1 && !Number.isSafeInteger(value)) return "Whole numbers only.";
      if (min !== undefined && value < min) return `At least ${min}.`;
      if (max !== undefined && value > max) return `At most ${max}.`;
      return "";
    }
    case "integers":
      return /^\s*\d+(\s*,\s*\d+)*\s*$/.test(String(value)) ? "" : "Whole numbers with commas.";
    case "json":
      return isObject(String(value)) ? "" : "This is not a JSON object.";
    default:
      return "";
  }
}

export function isObject(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}
