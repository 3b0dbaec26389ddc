// JSON that goes on as it was typed. JavaScript's numbers would lose digits.

const TOKENS = /"(?:[^"\\]|\\.)*"|[{}[\],:]/g;

/** The members of an object in valid JSON, each with its value as it is written. */
export function rawMembers(json: string): Map<string, string> {
  const found = new Map<string, string>();
  let depth = 0;
  let start = 0;
  let name: string | undefined;
  const end = (at: number) => {
    if (name !== undefined) found.set(name, json.slice(start, at).trim());
    name = undefined;
    start = at + 1;
  };
  for (const { 0: token, index } of json.matchAll(TOKENS)) {
    if (token === "}" || token === "]") depth -= 1;
    if (depth === 0 && token === "}") end(index);
    if (depth === 1 && token === ",") end(index);
    if (depth === 1 && token === ":") {
      name = JSON.parse(json.slice(start, index)) as string;
      start = index + 1;
    }
    if (token === "{" || token === "[") depth += 1;
    if (depth === 1 && token === "{") start = index + 1;
  }
  return found;
}

const MARK = `raw-${Math.random().toString(36).slice(2)}:`;
const MARKED = new RegExp(`"${MARK}((?:[^"\\\\]|\\\\.)*)"`, "g");

/** A value that is written as it was typed. */
export class RawJson {
  constructor(readonly text: string) {}

  toJSON(): string {
    return MARK + this.text;
  }
}

/** `JSON.stringify` for values with such members. */
export function jsonText(value: unknown): string {
  const json = JSON.stringify(value, null, 2);
  return json.replace(MARKED, (_, text: string) => JSON.parse(`"${text}"`) as string);
}

/** The whole numbers of this JSON that JavaScript rounds. */
export function roundedNumbers(json: string): string[] {
  const tokens = json.match(/"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g) ?? [];
  return tokens.filter((token) => /^-?\d+$/.test(token) && !Number.isSafeInteger(Number(token)));
}
