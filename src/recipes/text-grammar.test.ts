import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { z } from "zod";
import { sampleToken } from "../generation/sample.js";
import { random } from "../tensor/index.js";
import { createTokenizer, type Tokenizer } from "../tokenizers/tokenizer.js";
import { formConstraint, type ResponseFormat } from "./text-grammar.js";

const read = (name: string) =>
  JSON.parse(readFileSync(new URL(`../../test/reference/tokenizers/${name}.json`, import.meta.url), "utf8")) as object;
const ENDS = { llama2: "</s>", llama3: "<|eot_id|>", smollm2: "<|im_end|>" };
const tokenizers = Object.entries(ENDS).map(([name, eos]) => ({
  name,
  tokenizer: createTokenizer({ tokenizerJson: read(name), tokenizerConfig: { eos_token: eos } }),
}));

/** What comes out when a model prefers whatever the seed says, and how it ended. */
function written(tokenizer: Tokenizer, format: ResponseFormat, seed: number, maxTokens: number): string {
  const rng = random(seed, "text");
  const stop = tokenizer.eosId!;
  const constraint = formConstraint(tokenizer, { format }, { stopIds: new Set([stop]), maxTokens });
  const decoder = tokenizer.decoder();
  let text = "";
  for (let i = 0; i < maxTokens && !constraint.done; i++) {
    const logits = Float32Array.from({ length: tokenizer.vocabSize + 3 }, () => 6 * rng.normal());
    const chosen = sampleToken(logits, { temperature: seed % 2, constraint }, [], rng);
    if (chosen === stop) break;
    text += decoder.push(chosen);
  }
  return text + decoder.end();
}

it.each(tokenizers)("$name: whatever is likeliest, what it decodes to is a JSON object", ({ tokenizer }) => {
  for (let seed = 0; seed < 40; seed++) {
    const text = written(tokenizer, { type: "json_object" }, seed, 2 + (seed % 30));
    expect(Object.prototype.toString.call(JSON.parse(text)), text).toBe("[object Object]");
    expect(text).not.toContain("\ufffd");
  }
});

const node: z.ZodType = z.strictObject({
  name: z.string().max(9),
  get children() {
    return z.array(node);
  },
});
const person = z.strictObject({
  id: z.int().min(-5).max(12),
  ratio: z.number().gt(0).lt(1),
  kind: z.enum(["a", "bé", 'c"\\']),
  mail: z.email(),
  day: z.iso.date(),
  tags: z
    .array(z.string().regex(/^[a-z]{2,3}\d$/))
    .min(1)
    .max(2),
  either: z.union([z.literal(7), z.null(), z.strictObject({ x: z.boolean() })]),
  maybe: z.string().min(2).max(4).optional(),
  tree: node,
  pair: z.tuple([z.int(), z.boolean()]),
  more: z.record(z.string(), z.number()),
  shape: z.discriminatedUnion("type", [
    z.strictObject({ type: z.literal("dot") }),
    z.strictObject({ type: z.literal("ring"), r: z.int() }),
  ]),
});

it.each(tokenizers)(
  "$name: whatever is likeliest and however few tokens, what it decodes to fits its schema",
  ({ tokenizer }) => {
    const format: ResponseFormat = { type: "json_schema", schema: z.toJSONSchema(person) };
    for (let seed = 0; seed < 8; seed++) {
      const text = written(tokenizer, format, seed, 240 + 25 * seed);
      const read = person.safeParse(JSON.parse(text));
      expect(read.error?.issues, text).toBeUndefined();
    }
  },
);
