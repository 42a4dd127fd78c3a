import fc from "fast-check";
import { expect, it } from "vitest";
import { random } from "../../tensor/index.js";
import { sampleToken } from "../sample.js";
import { createGrammars, createVocabulary, type Term } from "./index.js";

// Single bytes, and some tokens of several that look like what models write.
const utf8 = new TextEncoder();
const STOP = 300;
const words = [
  '{"',
  '":',
  '",',
  '"}',
  "}}",
  "]}",
  "true",
  "null",
  " a",
  "\n  ",
  "Ada",
  "1.",
  "e-",
  "Sure, here",
  "\\u",
  "é",
  "<|x|>",
];
const tokens = [
  ...Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)),
  ...words.map((word) => utf8.encode(word)),
];
const grammars = createGrammars(createVocabulary(STOP + 1, new Set([STOP]), (id) => tokens[id] ?? new Uint8Array()));
const { terms } = grammars;

/** What may follow a text, from a state on; undefined where it cannot stand. */
function after(text: string | Uint8Array, start: Term = grammars.jsonObject()): Term | undefined {
  let term = start;
  for (const byte of typeof text === "string" ? utf8.encode(text) : text) term = terms.after(term, byte);
  return terms.cost(term) === Number.POSITIVE_INFINITY ? undefined : term;
}
const whole = (text: string | Uint8Array, start?: Term) => after(text, start)?.nullable === true;

it("takes every JSON object, closely written or with a space or a line's end between its parts", () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.string({ unit: "grapheme" }), fc.jsonValue({ maxDepth: 4 }).map(moderate)),
      fc.constantFrom("", " ", "\n", "\t"),
      (value, between) => {
        expect(whole(apart(value, between))).toBe(true);
      },
    ),
  );
  const text = '\n{"a\\u00e9\\n":[-0, 1.5e-7,0.25E+3 ,10,true,false,null,{},[]],"":"\u{1f600}é\\/"}';
  expect(whole(text)).toBe(true);
});

/** Without the greatest numbers. */
const moderate = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value), (_, one) => (typeof one === "number" && Math.abs(one) > 1e199 ? 0 : one));

/** JSON with `between` on both sides of every bracket, comma and colon. */
function apart(value: unknown, between: string): string {
  const list = (parts: readonly string[], [open, close]: string) =>
    `${open}${between}${parts.join(`${between},${between}`)}${parts.length > 0 ? between : ""}${close}`;
  if (Array.isArray(value))
    return list(
      value.map((one) => apart(one, between)),
      "[]",
    );
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const field = ([key, one]: [string, unknown]) => `${JSON.stringify(key)}${between}:${between}${apart(one, between)}`;
  return list(Object.entries(value).map(field), "{}");
}

it("white space never comes twice in a row, and strings may hold what they like", () => {
  for (const text of ["  {", "{  ", '{"a" \n:', '{"a":  1', '{"a":1 \t}', "\n\n{"])
    expect(after(text), text).toBeUndefined();
  expect(whole('{ "a  b" : "c\\n\\n  d" }')).toBe(true);
});

it("refuses what is no JSON object, at the first byte that shows it", () => {
  const wrong = [
    ...[
      "[",
      "1",
      '"',
      "x",
      "}",
      "{,",
      "{a",
      '{"a"}',
      '{"a" 1',
      '{"a":}',
      '{"a":1,}',
      '{"a":[1,]',
      '{"a":[1}',
      '{"a":1]',
    ],
    ...[
      '{"a":01',
      '{"a":1.}',
      '{"a":-}',
      '{"a":1e}',
      '{"a":.5',
      '{"a":+1',
      '{"a":tru}',
      '{"a":nulll',
      '{"a":1 2',
      '{"a":--',
    ],
    ...['{"\n', '{"\\x', '{"\\u12g', "{} x", "{}{", `{"a":${"[".repeat(40)}`, `{${" ".repeat(30)}`],
  ];
  for (const text of wrong) expect(after(text), text).toBeUndefined();
  const bytes = [[0x80], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf5], [0xe0, 0x80, 0x80], [0xc3, 0x22], [0xf4, 0x90]];
  for (const list of bytes) expect(after(Uint8Array.of(0x7b, 0x22, ...list)), list.join()).toBeUndefined();
});

it("knows the shortest end of every beginning", () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.string({ unit: "grapheme" }), fc.jsonValue({ maxDepth: 3 }).map(moderate)),
      (value) => {
        const bytes = utf8.encode(JSON.stringify(value));
        for (let end = 0; end <= bytes.length; end++) {
          const rest = terms.cost(after(bytes.subarray(0, end))!);
          expect(rest).toBeLessThanOrEqual(bytes.length - end);
        }
      },
    ),
  );
});

it("whatever a model prefers, in however few tokens: the text is one JSON object", () => {
  fc.assert(
    fc.property(
      fc.integer(),
      fc.integer({ min: 2, max: 60 }),
      fc.constantFrom(0, 1),
      (seed, maxTokens, temperature) => {
        const rng = random(seed, "json");
        const constraint = grammars.constraint(grammars.jsonObject(), {
          stopIds: new Set([STOP]),
          maxTokens,
          what: "JSON",
        });
        const text: Uint8Array[] = [];
        for (let i = 0; i < maxTokens && !constraint.done; i++) {
          const logits = Float32Array.from({ length: STOP + 5 }, () => 8 * rng.normal());
          const id = sampleToken(logits, { temperature, topP: 0.9, constraint }, [], rng);
          if (id === STOP) break;
          text.push(tokens[id]!);
        }
        const value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(text))) as unknown;
        expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
      },
    ),
    { numRuns: 300 },
  );
});

it("a token that is allowed is chosen as without a constraint; others are drawn among the allowed by their weight", () => {
  const logits = () =>
    Float32Array.from({ length: STOP + 1 }, (_, id) => (id === 0x41 ? 9 : id === 0x7b ? 2 : id === 256 ? 1 : -9));
  const counts = new Map<number, number>();
  const rng = random(1, "draws");
  for (let i = 0; i < 4000; i++) {
    const constraint = grammars.constraint(grammars.jsonObject(), {
      stopIds: new Set([STOP]),
      maxTokens: 50,
      what: "JSON",
    });
    const id = sampleToken(logits(), { temperature: 1, constraint }, [], rng);
    counts.set(id, (counts.get(id) ?? 0) + 1);
  }
  const brace = counts.get(0x7b)! / 4000;
  expect(Math.abs(brace - Math.E / (1 + Math.E))).toBeLessThan(0.03);
  expect(brace + counts.get(256)! / 4000).toBeGreaterThan(0.99);
});

it("refuses a vocabulary that cannot write an object, and room for none", () => {
  const few = createGrammars(createVocabulary(3, new Set(), (id) => tokens[id]!));
  const options = { stopIds: new Set([STOP]), what: "JSON" };
  expect(() => few.constraint(few.jsonObject(), { ...options, maxTokens: 9 })).toThrow("no text that can be written");
  expect(() => grammars.constraint(grammars.jsonObject(), { ...options, maxTokens: 1 })).toThrow("may take 2");
});

it("says that it had no room only where a token that was asked for needed more", () => {
  const ends = [4, 3].map((maxTokens) => {
    const constraint = grammars.constraint(grammars.jsonObject(), {
      stopIds: new Set([STOP]),
      maxTokens,
      what: "JSON",
    });
    const wanted = ["{", '"', "}", "}", "}"];
    for (let i = 0; i < maxTokens && !constraint.done; i++) {
      const logits = Float32Array.from({ length: STOP + 1 }, (_, id) =>
        id === wanted[i]!.charCodeAt(0) ? 9 : id === 0x7d ? 5 : 0,
      );
      sampleToken(logits, { constraint }, [], random(1, "x"));
    }
    return [constraint.done, constraint.cut];
  });
  expect(ends).toEqual([
    [true, true],
    [true, true],
  ]);
});

it("what observes sees the model's own logits, before penalties and constraint", () => {
  const seen: [number, number[]][] = [];
  const observe = (id: number, logits: Float32Array) => void seen.push([id, [...logits]]);
  sampleToken(Float32Array.of(3, 2.5), { frequencyPenalty: 2, observe }, [0], random(1, "x"), [0]);
  expect(seen).toEqual([[1, [3, 2.5]]]);
});

/** Does a text fit a schema, as a whole? */
const fits = (schema: unknown, text: string): boolean => whole(text, grammars.jsonSchema(schema, "schema"));

it.each<[object, string[], string[]]>([
  [{ type: "string" }, ['"a\\u00e9"', '""', ' "x"'], ["1", '"\\ud800"', "null"]],
  [{ type: "string", minLength: 2, maxLength: 3 }, ['"é😀"', '"abc"', '"\\ud83d\\ude00a"'], ['"a"', '"abcd"']],
  [{ type: ["integer", "null"] }, ["null", "-12", "0"], ["1.5", "01", "1e3", '"1"']],
  [{ type: "integer", minimum: -3, exclusiveMaximum: 12 }, ["-3", "0", "11"], ["-4", "12", "110"]],
  [
    { type: "number", exclusiveMinimum: 0, maximum: 1.25 },
    ["0.1", "1", "1.25", "1.250"],
    ["0", "0.0", "1.26", "-1", "2"],
  ],
  [{ enum: ["a", 1, null, { b: [1] }] }, ['"a"', "1", "null", '{"b":[1]}'], ['"b"', "2", "{}"]],
  [{ const: 'x"' }, ['"x\\""'], ['"x"']],
  [{ minimum: 3 }, ["3", "4.5"], ["2", '"a"']],
  [
    { type: "array", items: { type: "boolean" }, minItems: 1, maxItems: 2 },
    ["[true]", "[ true, false ]"],
    ["[]", "[true,true,true]"],
  ],
  [
    { type: "array", prefixItems: [{ type: "null" }, { type: "integer" }], items: false },
    ["[]", "[null]", "[null,3]"],
    ["[3]", "[null,3,3]"],
  ],
  [
    { type: "object", properties: { a: { type: "integer" }, b: { type: "null" }, c: {} }, required: ["b"] },
    ['{"b":null}', '{"a":1, "b":null}', '{"b":null,"c":[{}]}', '{"a":1,"b":null,"c":"x"}'],
    ["{}", '{"a":1}', '{"b":null,"a":1}', '{"b":null,"d":1}', '{"b":null,}', '{"b":null,"b":null}'],
  ],
  [
    { type: "object", properties: { a: { type: "string" } }, additionalProperties: { type: "number" } },
    ["{}", '{"a":"x","b":1,"c":2}', '{"b":1}', '{"aa":1}'],
    ['{"a":1}', '{"a":"x","a":1}', '{"\\u0061":1}', '{"b":"x"}'],
  ],
  [{ type: "object", additionalProperties: {}, propertyNames: { pattern: "^x" } }, ['{"x":1,"xy":[]}'], ['{"y":1}']],
  [{ anyOf: [{ type: "string" }, { type: "array" }] }, ['"x"', "[1,[2]]"], ["{}"]],
  [{ oneOf: [{ type: "string" }, { type: "integer" }] }, ['"x"', "1"], ["1.5"]],
  [
    {
      allOf: [
        { type: "integer", minimum: 2 },
        { maximum: 4, minimum: 3 },
      ],
    },
    ["3", "4"],
    ["2", "5"],
  ],
  [
    { type: "object", properties: { a: {}, b: {} }, anyOf: [{ required: ["a"] }, { required: ["b"] }] },
    ['{"a":1}', '{"b":1}'],
    ["{}"],
  ],
  [
    {
      $ref: "#/$defs/n",
      $defs: {
        n: { type: "object", properties: { v: { type: "integer" }, n: { $ref: "#/$defs/n" } }, required: ["v"] },
      },
    },
    ['{"v":1}', '{"v":1,"n":{"v":2,"n":{"v":3}}}'],
    ['{"v":1,"n":{}}'],
  ],
  [{ anyOf: [{ type: "null" }, { type: "array", items: { $ref: "#" } }] }, ["null", "[[],[null]]"], ["[1]"]],
  [{ type: "string", format: "date" }, ['"2024-02-28"'], ['"2024-02-30"', '"2024-2-1"']],
  [{ type: "string", format: "uuid" }, ['"123e4567-e89b-12d3-a456-426614174000"'], ['"123"']],
  [{ type: "string", pattern: "b", maxLength: 3 }, ['"abc"', '"b"'], ['"ac"', '"abcd"']],
])("%j takes what fits, and nothing else", (schema, good, bad) => {
  for (const text of good) expect(fits(schema, text), text).toBe(true);
  for (const text of bad) expect(fits(schema, text), text).toBe(false);
});

it.each([
  "^a+b*$",
  "^(?!a)[a-c]{2}$",
  "(?=.*a)(?=.*b)",
  "^[^a]$",
  "a|^b",
  "^\\\\d\\\\w\\\\s$".replaceAll("\\\\", "\\"),
  "^\\p{Lu}+$",
  "c$",
  "^(ab|a)(c|bc)$",
  "^$",
  '"',
  "^[\\\\n]$",
])("the pattern %s finds what a regular expression finds", (pattern) => {
  const regex = new RegExp(pattern, "u");
  const letters = fc.constantFrom(...'aabbcABÄé1 _\n"\\😀');
  fc.assert(
    fc.property(fc.array(letters, { maxLength: 5 }), (parts) => {
      const text = parts.join("");
      expect(fits({ type: "string", pattern }, JSON.stringify(text)), JSON.stringify(text)).toBe(regex.test(text));
    }),
  );
});

it("numbers between bounds are those that a comparison takes", () => {
  const value = fc.integer({ min: -1200, max: 1200 }).map((n) => n / 40);
  fc.assert(
    fc.property(value, value, value, fc.boolean(), fc.boolean(), (a, b, x, open, integer) => {
      const [least, most] = [Math.min(a, b), (40 * Math.max(a, b) + 40) / 40];
      const schema = {
        type: integer ? "integer" : "number",
        [open ? "exclusiveMinimum" : "minimum"]: least,
        [open ? "exclusiveMaximum" : "maximum"]: most,
      };
      const inside = open ? x > least && x < most : x >= least && x <= most;
      expect(fits(schema, String(x)), JSON.stringify(schema)).toBe(inside && (!integer || Number.isInteger(x)));
    }),
  );
});

it.each<[unknown, string]>([
  [{ not: {} }, "schema: 'not' cannot be held"],
  [{ type: "array", uniqueItems: true }, "'uniqueItems' cannot be held"],
  [{ type: "integer", multipleOf: 3 }, "'multipleOf' cannot be held"],
  [{ type: "object", patternProperties: {} }, "'patternProperties' cannot be held"],
  [{ type: "object", propertys: {} }, "'propertys' is no keyword that is known; did you mean 'properties'?"],
  [{ type: "strnig" }, "schema.type: expected one of string"],
  [{ type: "string", pattern: "(a)\\1" }, "a back-reference cannot be held"],
  [{ type: "string", pattern: "\\bx" }, "a word boundary cannot be held"],
  [{ type: "string", pattern: "(" }, "is no regular expression"],
  [{ type: "string", pattern: "^a$", minLength: 2 }, "schema.pattern: no text that can be written fits it"],
  [{ type: "string", pattern: "^((a{0,30}){0,30}){0,30}$" }, "needs more than 4000 states"],
  [
    { prefixItems: [1, 2, 3].map((n) => ({ type: "string", pattern: `^.{${n},200}$` })) },
    "schema: its patterns take more time than a schema may",
  ],
  [{ type: "string", format: "iri" }, 'schema.format: "iri" cannot be held; held are date'],
  [{ oneOf: [{ type: "number" }, { type: "integer" }] }, "a value may fit both [0] and [1]"],
  [{ properties: { a: { $ref: "#/$defs/x" } } }, "'#/$defs/x' leads nowhere"],
  [{ $ref: "https://a.b/c" }, "only references into the schema itself"],
  [{ $ref: "#" }, "refers to itself and nothing else"],
  [{ allOf: [{ $ref: "#" }, { type: "object" }] }, "too large, or refers to itself"],
  [{ type: "object", properties: { a: { $ref: "#" } }, required: ["a"] }, "nothing finite fits it"],
  [{ type: "integer", minimum: 5, maximum: 4 }, "no text that can be written fits it"],
  [{ allOf: [{ properties: { a: {} }, additionalProperties: false }, { properties: { b: {} } }] }, "as one object"],
  [{ type: "string", minLength: -1 }, "schema.minLength: expected a whole number"],
  [{ type: "array", items: [{}] }, "a list of schemas is 'prefixItems' now"],
])("%j is refused by name", (schema, message) => {
  expect(() => grammars.jsonSchema(schema, "schema")).toThrow(message);
});

it("what is remembered of many texts is bounded, and forgetting changes nothing", () => {
  const start = grammars.jsonSchema({ type: "string", minLength: 60_000 }, "schema");
  const text = `"${"ab".repeat(40_000)}`;
  expect(whole(`${text}"`, start)).toBe(true);
  expect(whole('"ab"', start)).toBe(false);
});
