// Finds whether a text matches a regular expression, in steps that are counted. The engine of a
// browser needs years for some patterns, and nothing can stop it: here, all ways through the
// pattern are followed at the same time, character by character.

/** The states of one pattern. */
const STATES_MAX = 20_000;

/** The steps that are left for a pattern, or for all patterns of one check. */
export interface Steps {
  left: number;
}

/** Tests texts by one pattern. It throws an error if it needs more than the steps. */
export type Matcher = (text: string, steps: Steps) => boolean;

/** A matcher, nothing if a pattern is of another dialect, or an error if it is too much here. */
export function matcherOf(pattern: string, steps: Steps): Matcher | undefined {
  try {
    new RegExp(pattern, "u");
  } catch {
    return undefined;
  }
  const tree = new Parser(pattern).all();
  const states: State[] = [{ isEnd: true }];
  const start = build(tree, 0, states, steps);
  return runner(states, start);
}

type Tree =
  | { kind: "one"; fits: (character: string) => boolean }
  | { kind: "place"; fits: (text: string, at: number) => boolean }
  | { kind: "row"; parts: Tree[] }
  | { kind: "choice"; parts: Tree[] }
  | { kind: "repeat"; part: Tree; least: number; most: number };

const PAIR = "\\\\u[dD][89abAB][\\da-fA-F]{2}\\\\u[dD][c-fC-F][\\da-fA-F]{2}";
const ESCAPES = "\\\\u\\{[\\da-fA-F]+\\}|\\\\u[\\da-fA-F]{4}|\\\\x[\\da-fA-F]{2}|\\\\c[A-Za-z]";
const CLASSES = "\\\\[pP]\\{[^}]*\\}|\\\\.|\\[(?:\\\\.|[^\\]\\\\])*\\]";
/** What stands for one character. */
const ONE = new RegExp(`${PAIR}|${ESCAPES}|${CLASSES}|[^]`, "uy");
const TIMES = /(?:([*+?])|\{(\d+)(,(\d*))?\})\??/uy;
const OPEN = /\((?:\?(?::|<(?![=!])[^>]*>))?/uy;
const WORD = /^\w$/u;

/** Reads a pattern that the browser has found to be right. */
class Parser {
  #pattern: string;
  #at = 0;

  constructor(pattern: string) {
    this.#pattern = pattern;
  }

  all(): Tree {
    const parts: Tree[] = [this.#row()];
    while (this.#take("|")) parts.push(this.#row());
    return parts.length === 1 ? parts[0]! : { kind: "choice", parts };
  }

  #row(): Tree {
    const parts: Tree[] = [];
    while (this.#at < this.#pattern.length && !"|)".includes(this.#pattern[this.#at]!)) {
      const part = this.#part();
      const times = this.#find(TIMES);
      parts.push(times ? repeated(part, times) : part);
    }
    return { kind: "row", parts };
  }

  #part(): Tree {
    if (this.#pattern[this.#at] === "(") {
      this.#find(OPEN);
      if (this.#pattern[this.#at] === "?") throw new Error("a pattern looks around");
      const inner = this.all();
      this.#take(")");
      return inner;
    }
    if (this.#take("^")) return { kind: "place", fits: (_, at) => at === 0 };
    if (this.#take("$")) return { kind: "place", fits: ({ length }, at) => at === length };
    if (this.#take("\\b")) return { kind: "place", fits: isEdge };
    if (this.#take("\\B")) return { kind: "place", fits: (text, at) => !isEdge(text, at) };
    const text = this.#find(ONE)?.[0] ?? "";
    if (/^\\[1-9k]/.test(text)) throw new Error("a pattern repeats a part of the text");
    if (/^[^.[\\]/.test(text)) return { kind: "one", fits: (character) => character === text };
    const one = new RegExp(`^${text}$`, "u");
    return { kind: "one", fits: (character) => one.test(character) };
  }

  #take(text: string): boolean {
    const isThere = this.#pattern.startsWith(text, this.#at);
    if (isThere) this.#at += text.length;
    return isThere;
  }

  #find(sticky: RegExp): RegExpExecArray | null {
    sticky.lastIndex = this.#at;
    const found = sticky.exec(this.#pattern);
    this.#at += found?.[0].length ?? 0;
    return found;
  }
}

function repeated(part: Tree, [, sign, least, comma, most]: RegExpExecArray): Tree {
  if (sign) {
    return { kind: "repeat", part, least: sign === "+" ? 1 : 0, most: sign === "?" ? 1 : Infinity };
  }
  const last = comma ? (most ? Number(most) : Infinity) : Number(least);
  return { kind: "repeat", part, least: Number(least), most: last };
}

function isEdge(text: string, at: number): boolean {
  return WORD.test(text[at - 1] ?? "") !== WORD.test(text[at] ?? "");
}

/** A place in the pattern, and what leads to the next ones. */
interface State {
  isEnd?: true;
  one?: (character: string) => boolean;
  place?: (text: string, at: number) => boolean;
  next?: number[];
}

function count(steps: Steps): void {
  if ((steps.left -= 1) < 0) throw new Error("a pattern is too much work for this page");
}

/** Adds the states of a part before the state `next`. It gives the first of them. */
function build(tree: Tree, next: number, states: State[], steps: Steps): number {
  count(steps);
  if (states.length >= STATES_MAX) throw new Error("a pattern is too large for this page");
  const add = (state: State) => states.push(state) - 1;
  switch (tree.kind) {
    case "one":
      return add({ one: tree.fits, next: [next] });
    case "place":
      return add({ place: tree.fits, next: [next] });
    case "row":
      return tree.parts.reduceRight((next, part) => build(part, next, states, steps), next);
    case "choice":
      return add({ next: tree.parts.map((part) => build(part, next, states, steps)) });
    case "repeat": {
      let first = next;
      if (tree.most === Infinity) {
        const loop: State = { next: [next] };
        first = add(loop);
        loop.next!.push(build(tree.part, first, states, steps));
      } else {
        for (let left = tree.most - tree.least; left > 0; left -= 1) {
          first = add({ next: [next, build(tree.part, first, states, steps)] });
        }
      }
      for (let left = tree.least; left > 0; left -= 1) {
        first = build(tree.part, first, states, steps);
      }
      return first;
    }
  }
}

function runner(states: State[], start: number): Matcher {
  /** The turn in which each state was last reached. */
  const reached = new Uint32Array(states.length);
  let turn = 0;
  return (text, steps) => {
    let open: number[] = [];
    let character = "";
    for (let at = 0; at <= text.length; at += character.length) {
      turn += 1;
      character = String.fromCodePoint(text.codePointAt(at) ?? 0);
      // The match can begin everywhere.
      open.push(start);
      const after: number[] = [];
      while (open.length > 0) {
        const index = open.pop()!;
        if (reached[index] === turn) continue;
        reached[index] = turn;
        count(steps);
        const { isEnd, one, place, next = [] } = states[index]!;
        if (isEnd) return true;
        if (one) {
          if (at < text.length && one(character)) after.push(...next);
        } else if (!place || place(text, at)) open.push(...next);
      }
      open = after;
    }
    return false;
  };
}
