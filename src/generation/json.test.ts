import fc from "fast-check";
import { expect, it } from "vitest";
import { random } from "../tensor/index.js";
import { advance, bytesToClose, JSON_START } from "./json-bytes.js";
import { jsonConstraint, jsonVocabulary } from "./json-constraint.js";
import { sampleToken } from "./sample.js";

const utf8 = new TextEncoder();
const after = (text: string | Uint8Array) => advance(JSON_START, typeof text === "string" ? utf8.encode(text) : text);

it("takes every JSON object, closely written or with a space or a line's end between its parts", () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.string({ unit: "binary" }), fc.jsonValue({ maxDepth: 4 })),
      fc.constantFrom("", " ", "\n", "\t"),
      (value, between) => {
        const state = after(apart(value, between));
        expect(state?.mode).toBe("done");
        expect(bytesToClose(state!)).toBe(0);
      },
    ),
  );
  const text = '\n{"a\\u00e9\\n":[-0, 1.5e-7,0.25E+3 ,10,true,false,null,{},[]],"":"\u{1f600}é\\/"}';
  expect(after(text)?.mode).toBe("done");
});

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
  expect(after('{ "a  b" : "c\\n\\n  d" }')?.mode).toBe("done");
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
    fc.property(fc.dictionary(fc.string({ unit: "binary" }), fc.jsonValue({ maxDepth: 3 })), (value) => {
      const bytes = utf8.encode(JSON.stringify(value));
      for (let end = 0; end <= bytes.length; end++) {
        const rest = bytesToClose(after(bytes.subarray(0, end))!);
        expect(rest).toBeLessThanOrEqual(bytes.length - end);
      }
    }),
  );
});

// Single bytes, and some tokens of several that look like what models write.
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
const vocabulary = jsonVocabulary(STOP + 1, (id) => tokens[id]);

it("whatever a model prefers, in however few tokens: the text is one JSON object", () => {
  fc.assert(
    fc.property(
      fc.integer(),
      fc.integer({ min: 2, max: 60 }),
      fc.constantFrom(0, 1),
      (seed, maxTokens, temperature) => {
        const rng = random(seed, "json");
        const constraint = jsonConstraint(vocabulary, { stopIds: new Set([STOP]), maxTokens });
        const text: Uint8Array[] = [];
        for (let i = 0; i < maxTokens; i++) {
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
    const constraint = jsonConstraint(vocabulary, { stopIds: new Set([STOP]), maxTokens: 50 });
    const id = sampleToken(logits(), { temperature: 1, constraint }, [], rng);
    counts.set(id, (counts.get(id) ?? 0) + 1);
  }
  const brace = counts.get(0x7b)! / 4000;
  expect(Math.abs(brace - Math.E / (1 + Math.E))).toBeLessThan(0.03);
  expect(brace + counts.get(256)! / 4000).toBeGreaterThan(0.99);
});

it("refuses a vocabulary that cannot close an object, and room for none", () => {
  expect(() => jsonVocabulary(3, (id) => tokens[id])).toThrow("no token for '{' alone");
  expect(() => jsonConstraint(vocabulary, { stopIds: new Set(), maxTokens: 1 })).toThrow("cannot hold an object");
});

it("what observes sees the model's own logits, before penalties and constraint", () => {
  const seen: [number, number[]][] = [];
  const observe = (id: number, logits: Float32Array) => void seen.push([id, [...logits]]);
  sampleToken(Float32Array.of(3, 2.5), { frequencyPenalty: 2, observe }, [0], random(1, "x"), [0]);
  expect(seen).toEqual([[1, [3, 2.5]]]);
});
