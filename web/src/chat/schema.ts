// Checks JSON against a JSON Schema (2020-12, and the older forms of the same keywords): the
// keywords that say what is valid, and references inside the schema. `format` only describes.

import { matcherOf, type Matcher, type Steps } from "./pattern";

export interface Violation {
  path: string;
  text: string;
}

type Schema = { [keyword: string]: unknown };

/** The violations at most, because one is enough and a hundred are not read. */
const VIOLATIONS_MAX = 20;
/** References can go in a circle. */
const DEPTH_MAX = 100;
/** Alternatives inside alternatives can be more than a page can try. */
const STEPS_MAX = 100_000;
/** The steps of all patterns of the schema on all texts of the answer: less than a second. */
const PATTERN_STEPS_MAX = 2_000_000;
const UNCHECKED = "cannot be checked:";

/** Checks an answer as it is: JSON, alone or in a block of code. */
export function checkAnswer(text: string, schemaText: string): Violation[] {
  let value: unknown;
  try {
    value = JSON.parse(withoutFence(text));
  } catch (error) {
    return [{ path: "$", text: `is not JSON: ${(error as Error).message}` }];
  }
  let schema: unknown;
  try {
    schema = JSON.parse(schemaText);
  } catch {
    return [{ path: "$", text: `${UNCHECKED} the JSON Schema is not JSON` }];
  }
  return check(value, schema);
}

/** Whether the check could not end, so that the answer may be valid. */
export function isUnchecked(violations: Violation[]): boolean {
  return violations[0]?.text.startsWith(UNCHECKED) ?? false;
}

export function withoutFence(text: string): string {
  return /^\s*```(?:json)?\s*\n([\s\S]*?)\n?```\s*$/.exec(text)?.[1] ?? text;
}

/**
 * The violations of any value by any schema. A part of the schema that is no schema says nothing, as
 * an unknown keyword does.
 */
export function check(value: unknown, schema: unknown): Violation[] {
  const found: Violation[] = [];
  const patterns = { known: new Map(), steps: { left: PATTERN_STEPS_MAX } };
  const steps = { left: STEPS_MAX };
  try {
    visit(value, schema, "$", { root: schema, found, depth: 0, steps, patterns });
  } catch (error) {
    // The value is nested more deeply than the page can follow, or too much work.
    found.unshift({ path: "$", text: `${UNCHECKED} ${(error as Error).message}` });
  }
  return found.slice(0, VIOLATIONS_MAX);
}

interface Context {
  root: unknown;
  found: Violation[];
  depth: number;
  steps: Steps;
  patterns: Patterns;
}

/** The matchers of the schema's patterns: nothing is a pattern of another dialect. */
interface Patterns {
  known: Map<string, Matcher | undefined>;
  steps: Steps;
}

function isValid(value: unknown, schema: unknown, context: Context): boolean {
  const found: Violation[] = [];
  visit(value, schema, "$", { ...context, found });
  return found.length === 0;
}

function visit(value: unknown, schema: unknown, path: string, context: Context): void {
  const say = (text: string) => context.found.push({ path, text });
  if (context.found.length >= VIOLATIONS_MAX) return;
  if (schema === false) return void say("must not be here");
  if (!isObject(schema)) return;
  if ((context.steps.left -= 1) < 0) throw new Error("the JSON Schema has too many alternatives");
  if (context.depth > DEPTH_MAX) return void say("is nested too deeply to check");
  const inner = { ...context, depth: context.depth + 1 };
  if (typeof schema.$ref === "string") {
    const target = resolve(schema.$ref, context.root);
    if (target === undefined) say(`refers to ${schema.$ref}, which the schema does not have`);
    else visit(value, target, path, inner);
  }
  const types = [schema.type].flat().filter((type) => typeof type === "string");
  if (types.length > 0 && !types.some((type) => hasType(value, type))) {
    return void say(`is ${nameOf(value)}, not ${types.join(" or ")}`);
  }
  if ("const" in schema && !equal(value, schema.const)) {
    say(`is not ${JSON.stringify(schema.const)}`);
  }
  if (Array.isArray(schema.enum) && !schema.enum.some((choice) => equal(value, choice))) {
    say(`is none of ${schema.enum.map((choice) => JSON.stringify(choice)).join(", ")}`);
  }
  if (typeof value === "number") numbers(value, schema, say);
  if (typeof value === "string") strings(value, schema, context.patterns, say);
  if (Array.isArray(value)) lists(value, schema, path, inner, say);
  else if (typeof value === "object" && value !== null) {
    objects(value as Record<string, unknown>, schema, path, inner, say);
  }
  combined(value, schema, path, inner, say);
}

type Say = (text: string) => void;

/** The keyword if it is a number. */
function limit(schema: Schema, keyword: string): number | undefined {
  const value = schema[keyword];
  return typeof value === "number" ? value : undefined;
}

function numbers(value: number, schema: Schema, say: Say): void {
  const rules: [string, (limit: number) => boolean, string][] = [
    ["minimum", (least) => value >= least, "is less than"],
    ["maximum", (most) => value <= most, "is more than"],
    ["exclusiveMinimum", (least) => value > least, "is not more than"],
    ["exclusiveMaximum", (most) => value < most, "is not less than"],
    ["multipleOf", (part) => isMultiple(value, part), "is not a multiple of"],
  ];
  for (const [keyword, holds, words] of rules) {
    const bound = limit(schema, keyword);
    if (bound !== undefined && !holds(bound)) say(`${words} ${bound}`);
  }
}

function isMultiple(value: number, part: number): boolean {
  const times = value / part;
  return Math.abs(times - Math.round(times)) < 1e-9;
}

function strings(value: string, schema: Schema, patterns: Patterns, say: Say): void {
  const length = [...value].length;
  const least = limit(schema, "minLength");
  const most = limit(schema, "maxLength");
  if (least !== undefined && length < least) say(`has fewer than ${least} characters`);
  if (most !== undefined && length > most) say(`has more than ${most} characters`);
  if (typeof schema.pattern === "string" && !matches(schema.pattern, value, patterns)) {
    say(`does not match ${schema.pattern}`);
  }
}

function matches(pattern: string, text: string, { known, steps }: Patterns): boolean {
  if (!known.has(pattern)) known.set(pattern, matcherOf(pattern, steps));
  // A pattern of another dialect says nothing about the answer.
  return known.get(pattern)?.(text, steps) ?? true;
}

function lists(value: unknown[], schema: Schema, path: string, inner: Context, say: Say) {
  const least = limit(schema, "minItems");
  const most = limit(schema, "maxItems");
  if (least !== undefined && value.length < least) say(`has fewer than ${least} items`);
  if (most !== undefined && value.length > most) say(`has more than ${most} items`);
  if (schema.uniqueItems === true) {
    const texts = value.map((item) => JSON.stringify(sorted(item)));
    if (new Set(texts).size < texts.length) say("has the same item twice");
  }
  const first = Array.isArray(schema.prefixItems)
    ? schema.prefixItems
    : Array.isArray(schema.items)
      ? schema.items
      : [];
  const rest = Array.isArray(schema.items) ? schema.additionalItems : schema.items;
  value.forEach((item, index) => {
    const rule = index < first.length ? first[index] : rest;
    visit(item, rule, `${path}[${index}]`, inner);
  });
  if (schema.contains !== undefined) {
    const hits = value.filter((item) => isValid(item, schema.contains, inner)).length;
    const needed = limit(schema, "minContains") ?? 1;
    if (hits < needed) say(`has fewer than ${needed} items of the kind that it must contain`);
    const allowed = limit(schema, "maxContains");
    if (allowed !== undefined && hits > allowed) say(`has more than ${allowed} items of a kind`);
  }
}

function objects(
  value: Record<string, unknown>,
  schema: Schema,
  path: string,
  inner: Context,
  say: Say,
): void {
  const names = Object.keys(value);
  const least = limit(schema, "minProperties");
  const most = limit(schema, "maxProperties");
  if (least !== undefined && names.length < least) say(`has fewer than ${least} members`);
  if (most !== undefined && names.length > most) say(`has more than ${most} members`);
  const required = [...listOf(schema.required)];
  for (const [name, needed] of Object.entries(membersOf(schema.dependentRequired))) {
    if (Object.hasOwn(value, name)) required.push(...listOf(needed));
  }
  for (const name of required) if (!Object.hasOwn(value, name)) say(`has no ${name}`);
  const properties = membersOf(schema.properties);
  const patterns = Object.entries(membersOf(schema.patternProperties));
  for (const name of names) {
    const at = `${path}.${name}`;
    const rules = patterns
      .filter(([pattern]) => matches(pattern, name, inner.patterns))
      .map(([, rule]) => rule);
    if (Object.hasOwn(properties, name)) rules.push(properties[name]);
    if (rules.length === 0 && schema.additionalProperties !== undefined) {
      if (schema.additionalProperties === false) say(`has the unknown member ${name}`);
      else rules.push(schema.additionalProperties);
    }
    for (const rule of rules) visit(value[name], rule, at, inner);
    if (schema.propertyNames !== undefined) {
      visit(name, schema.propertyNames, `${at} (name)`, inner);
    }
  }
}

function combined(value: unknown, schema: Schema, path: string, inner: Context, say: Say) {
  if (Array.isArray(schema.allOf)) for (const part of schema.allOf) visit(value, part, path, inner);
  const holds = (part: unknown) => isValid(value, part, inner);
  if (Array.isArray(schema.anyOf) && !schema.anyOf.some(holds)) say("fits none of anyOf");
  if (Array.isArray(schema.oneOf)) {
    const count = schema.oneOf.filter(holds).length;
    if (count !== 1) say(`fits ${count} of oneOf, not exactly one`);
  }
  if (schema.not !== undefined && holds(schema.not)) say("fits what it must not");
  if (schema.if !== undefined) {
    visit(value, holds(schema.if) ? schema.then : schema.else, path, inner);
  }
}

/** The part of the schema that a reference such as `#/$defs/name` names. */
function resolve(reference: string, root: unknown): unknown {
  if (!reference.startsWith("#")) return undefined;
  let part: unknown = root;
  let pointer: string;
  try {
    pointer = decodeURIComponent(reference.slice(1));
  } catch {
    return undefined;
  }
  for (const step of pointer.split("/").slice(1)) {
    const name = step.replaceAll("~1", "/").replaceAll("~0", "~");
    if (typeof part !== "object" || part === null || !Object.hasOwn(part, name)) return undefined;
    part = (part as Record<string, unknown>)[name];
  }
  return part;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function membersOf(value: unknown): Record<string, unknown> {
  return isObject(value) ? value : {};
}

function listOf(value: unknown): string[] {
  return Array.isArray(value) ? value.map(String) : [];
}

function hasType(value: unknown, type: string): boolean {
  if (type === "integer") return Number.isInteger(value);
  return nameOf(value) === type;
}

function nameOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}

function equal(a: unknown, b: unknown): boolean {
  return JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));
}

/** The value with the members of objects in the order of their names. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(members.map(([name, inner]) => [name, sorted(inner)]));
}
