import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { z } from "zod";
import { sampleToken } from "../../generation/sample.js";
import { random } from "../../tensor/index.js";
import { createTokenizer, type Tokenizer } from "../../tokenizers/tokenizer.js";
import { type ToolFormat, toolTemplate } from "../../tokenizers/tools/index.js";
import { formConstraint } from "../text-grammar.js";
import { createAnswerReader } from "./answer-reader.js";
import type { ToolCalling } from "./calling.js";
import { markIds } from "./marks.js";

const path = new URL("../../../test/reference/tokenizers/smollm2.json", import.meta.url);
const json = JSON.parse(readFileSync(path, "utf8"));
const TEMPLATES = ["<tool_call>", "ipython parameters", "[TOOL_CALLS]", "<|tool_call|>"];
const formats = TEMPLATES.map((marks) => toolTemplate(`{{ tools }}{{ tool_calls }}${marks}`).format!);
const marks = [...new Set(formats.flatMap(({ opens, closes }) => [...opens, ...closes]))];
const first = Math.max(...Object.values(json.model.vocab as Record<string, number>)) + 1;
const added = marks.map((content, i) => ({ ...json.added_tokens[0], id: first + i, content, special: true }));
const open = (tokens: object[]) =>
  createTokenizer({
    tokenizerJson: { ...json, added_tokens: [...json.added_tokens, ...tokens] },
    tokenizerConfig: { eos_token: "<|im_end|>" },
  });
const tokenizers = { text: open([]), tokens: open(added) };
const cases = formats.flatMap((format) =>
  Object.entries(tokenizers).map(([kind, tokenizer]) => ({ name: format.name, kind, format, tokenizer })),
);

const given = z.strictObject({ place: z.string().max(5), seats: z.int().min(1).max(9) });
const tools = [
  { name: "ferry", parameters: z.toJSONSchema(given) as Record<string, unknown>, strict: true },
  { name: "stop", parameters: undefined, strict: true },
];
const schemas: Readonly<Record<string, z.ZodType>> = { ferry: given, stop: z.strictObject({}) };

/** What a model that prefers whatever the seed says makes after a beginning, as it is read. */
function answered(
  { format, tokenizer }: { format: ToolFormat; tokenizer: Tokenizer },
  calling: ToolCalling,
  { seed, beginning = "" }: { seed: number; beginning?: string },
) {
  const [rng, stop, maxTokens] = [random(seed, "call"), tokenizer.eosId!, 72 + seed];
  const options = { stopIds: new Set([stop]), maxTokens };
  const constraint = formConstraint(tokenizer, { calling: { tools: calling, as: format } }, options);
  const decoder = tokenizer.decoder({ keeps: markIds(tokenizer, format) });
  const reader = createAnswerReader(format, new Set(["ferry", "stop"]));
  const said = [];
  const begun = tokenizer.encode(beginning, { addSpecialTokens: false });
  for (let i = 0; i < maxTokens && !constraint.done; i++) {
    const logits = Float32Array.from({ length: tokenizer.vocabSize }, () => 6 * rng.normal());
    const id = begun[i] ?? sampleToken(logits, { temperature: 1, constraint }, [], rng);
    if (begun[i] !== undefined) {
      expect(constraint.allows(id)).toBe(true);
      constraint.push(id);
    }
    if (id === stop) break;
    said.push(reader.push(decoder.push(id)));
  }
  said.push(reader.push(decoder.end()), reader.end());
  const calls: { name: string; arguments: string }[] = [];
  for (const { call, name, arguments: more } of said.flatMap((one) => one.calls)) {
    calls[call] = { name: name ?? calls[call]!.name, arguments: (calls[call]?.arguments ?? "") + more };
  }
  return { text: said.map(({ text }) => text).join(""), calls };
}

it.each(cases)("$name, its marks as $kind: calls that are asked for fit, at any limit", (one) => {
  for (const [seed, choice] of [
    [0, "required"],
    [9, "required"],
    [3, { name: "ferry" }],
    [5, { name: "stop" }],
  ] as const) {
    const { text, calls } = answered(one, { tools, choice, parallel: true }, { seed });
    expect(text).toBe("");
    expect(calls.length).toBeGreaterThan(0);
    if (typeof choice === "object") expect(calls.map(({ name }) => name)).toEqual([choice.name]);
    for (const { name, arguments: args } of calls) schemas[name]!.parse(JSON.parse(args));
  }
});

it.each(cases)(
  "$name, its marks as $kind: free to choose, words stay words and what begins as a call is one",
  (one) => {
    const { begin, call } = one.format.layout;
    const words = one.format.bare ? "" : "Let me see.\n";
    const free = { tools, choice: "auto", parallel: false } as const;
    const { text, calls } = answered(one, free, { seed: 4, beginning: `${words}${begin}${call[0].trimEnd()}` });
    expect(text).toBe(words.trim());
    expect(calls).toHaveLength(1);
    schemas[calls[0]!.name]!.parse(JSON.parse(calls[0]!.arguments));
  },
);
