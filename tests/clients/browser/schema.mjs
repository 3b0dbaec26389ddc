// The playground's check of JSON against a JSON Schema: for each keyword, what is valid and what is
// not.

import assert from "node:assert/strict";
import { check as test } from "../node/checks.mjs";
import { matcherOf } from "./pattern-of-page.mjs";
import { check, checkAnswer } from "./schema-of-page.mjs";

/** A schema, values that are valid by it, and values that are not. */
const CASES = [
  [{ type: "integer" }, [1, -2, 3.0], [1.5, "1", null, true]],
  [{ type: ["string", "null"] }, ["a", null], [1, []]],
  [{ type: "object" }, [{}], [[], null, "a"]],
  [{ enum: [1, { a: [2] }] }, [1, { a: [2] }], [2, { a: [3] }]],
  [{ const: { a: 1, b: 2 } }, [{ b: 2, a: 1 }], [{ a: 1 }]],
  [{ minimum: 1, maximum: 3 }, [1, 3, "0"], [0.9, 3.1]],
  [{ exclusiveMinimum: 1, exclusiveMaximum: 3 }, [2], [1, 3]],
  [{ multipleOf: 0.1 }, [0.3, 7], [0.35]],
  [{ minLength: 2, maxLength: 3 }, ["ab", "\u{1f426}\u{1f426}"], ["a", "abcd"]],
  [{ pattern: "^a+$" }, ["aa", 1], ["ab"]],
  [
    { minItems: 1, maxItems: 2, uniqueItems: true },
    [[1], [1, "1"]],
    [[], [1, 2, 3], [{ a: 1 }, { a: 1 }]],
  ],
  [{ items: { type: "string" } }, [[], ["a"]], [["a", 1]]],
  [{ prefixItems: [{ type: "string" }], items: false }, [["a"], []], [[1], ["a", 1]]],
  [{ items: [{ type: "string" }], additionalItems: { type: "number" } }, [["a", 1]], [["a", "b"]]],
  [{ contains: { const: 1 }, maxContains: 1 }, [[1, 2]], [[2], [1, 1]]],
  [{ properties: { a: { type: "string" } }, required: ["a"] }, [{ a: "" }], [{}, { a: 1 }]],
  [{ properties: { a: true }, additionalProperties: false }, [{ a: 1 }, {}], [{ b: 1 }]],
  [
    { patternProperties: { "^n": { type: "number" } }, additionalProperties: false },
    [{ n1: 1 }],
    [{ n1: "a" }, { a: 1 }],
  ],
  [{ additionalProperties: { type: "number" } }, [{ a: 1 }], [{ a: "b" }]],
  [{ propertyNames: { maxLength: 1 } }, [{ a: 1 }], [{ ab: 1 }]],
  [{ minProperties: 1, maxProperties: 1 }, [{ a: 1 }], [{}, { a: 1, b: 1 }]],
  [{ dependentRequired: { a: ["b"] } }, [{ a: 1, b: 1 }, {}], [{ a: 1 }]],
  [{ allOf: [{ minimum: 1 }, { maximum: 2 }] }, [1], [0, 3]],
  [{ anyOf: [{ type: "string" }, { minimum: 5 }] }, ["a", 6], [4]],
  [{ oneOf: [{ minimum: 1 }, { maximum: 2 }] }, [0, 3], [1.5]],
  [{ not: { type: "null" } }, [1], [null]],
  [{ if: { type: "string" }, then: { minLength: 2 }, else: { minimum: 2 } }, ["ab", 2], ["a", 1]],
  [{ $defs: { "a/b": { type: "string" } }, $ref: "#/$defs/a~1b" }, ["a"], [1]],
  [
    { properties: { next: { $ref: "#" }, n: { type: "number" } } },
    [{ n: 1, next: { n: 2 } }],
    [{ next: { next: { n: "a" } } }],
  ],
  [true, [1, null], []],
  [false, [], [1]],
];

for (const [schema, valid, others] of CASES) {
  await test(`schema ${JSON.stringify(schema)}`, () => {
    for (const value of valid) assert.deepEqual(check(value, schema), [], JSON.stringify(value));
    for (const value of others)
      assert.notDeepEqual(check(value, schema), [], JSON.stringify(value));
  });
}

await test("a violation names its place", () => {
  const schema = { properties: { list: { items: { properties: { n: { type: "number" } } } } } };
  assert.deepEqual(check({ list: [{}, { n: "a" }] }, schema), [
    { path: "$.list[1].n", text: "is string, not number" },
  ]);
});

await test("a reference in a circle ends", () => {
  assert.equal(check(1, { $ref: "#" }).length, 1);
});

await test("an answer in a block of code is checked as JSON, and text is no JSON", () => {
  assert.deepEqual(checkAnswer("```json\n[1]\n```", '{"type": "array"}'), []);
  assert.match(checkAnswer("Sure! [1]", "{}")[0].text, /is not JSON/);
});

/** Patterns of every form that the page reads, which the engine of JavaScript reads too. */
const PATTERNS = [
  "", "a", "^a", "a$", "^$", "^a|b$", "(a|b)*c", "^(a|bc)+$", "^(?:ab?){2}$", "^a{2,3}$", "^a{2,}$",
  "^a{0}b$", "^(a?){3}$", "^(a*)*$", "^(a*)+b$", "(|a)b", "^.$", "^..$", "^[ab]+$", "^[^ab]$",
  "^[\\]a-]+$", "^\\d+\\.\\w*$", "\\ba\\b", "\\Bb", "^\\u0061$", "^\\u{1f426}$", "^\\ud83d\\udc26$",
  "^\\x61b$", "^\\p{L}+$", "^\\P{L}$", "^a+?b*?$", "^(?<name>a)b$", "^\\(a\\)$", "^\\^\\$\\|$", "^\\s$",
  "^[a-z]+(-[a-z]+)*$", "^(a+)+$", "^\\n$", "a^", "$a",
];
const TEXTS = [
  "", "a", "b", "ab", "ba", "aa", "aaa", "aaaa", "abab", "abc", "bc", "c", "a-b", "a-", "]", "\\", "-",
  "1.", "12.x", ".", "a b", "b a", "\u{1f426}", "\ud83d", "\u00e9a", "(a)", "^$|", "\n", " ", "aab", "aaab!",
];

await test("patterns fit the same texts as in the engine of JavaScript", () => {
  for (const pattern of PATTERNS) {
    const steps = { left: 100_000 };
    const matches = matcherOf(pattern, steps);
    for (const text of TEXTS) {
      const expected = new RegExp(pattern, "u").test(text);
      assert.equal(matches(text, steps), expected, JSON.stringify([pattern, text]));
    }
  }
});

await test("a pattern that would take for ever is checked, and others are told", () => {
  const text = `${"a".repeat(5_000)}!`;
  for (const pattern of ["^(a+)+$", "^(a|a)*$", "^(a*)*b", "^a*a*a*a*a*a*$"]) {
    assert.deepEqual(check(text, { pattern }), [{ path: "$", text: `does not match ${pattern}` }]);
  }
  assert.deepEqual(check("a", { pattern: "(" }), [], "another dialect says nothing");
  for (const pattern of ["(?=a)b", "(?<!a)b", "(a)\\1", "(?<n>a)\\k<n>", "(a{1000}){1000}"]) {
    for (const [value, schema] of [
      [text, { pattern }],
      [text, { not: { pattern } }],
      [{ a: 1 }, { patternProperties: { [pattern]: {} } }],
    ]) {
      assert.match(check(value, schema)[0].text, /^cannot be checked: a pattern /, pattern);
    }
  }
  assert.match(check("a".repeat(3_000_000), { pattern: "b" })[0].text, /too much work/);
  const parts = Array(50_000).fill({ pattern: "^(a{100}){100}" });
  assert.match(check("a".repeat(20_000), { allOf: parts })[0].text, /too much work/);
});
