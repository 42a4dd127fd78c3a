import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { Sequence } from "../../src/generation/decoder.js";
import { nodePlatform } from "../../src/node/platform.js";
import { createAdapterRegistry } from "../../src/recipes/adapter-registry.js";
import { evaluate } from "../../src/recipes/evaluate.js";
import { mergeAdapter } from "../../src/recipes/fold.js";
import { generate } from "../../src/recipes/generate.js";
import { applyAdapter, type LoadedModel, type LoadOptions, loadModel } from "../../src/recipes/model.js";
import { evaluateSuite } from "../../src/recipes/suite/evaluate-suite.js";
import { ranksInProcess } from "../numerics/in-process.js";
import { relativeError, VECTORS } from "../numerics/vectors.js";
import { familyFolder, familyRows } from "./family-folder.js";

const folder = mkdtempSync(join(tmpdir(), "lowrank-model-stages-"));
const platform = nodePlatform();
const rows = familyRows(folder);
afterAll(async () => {
  await platform.dispose();
  rmSync(folder, { recursive: true });
});

const PROMPT = [1, 40, 12, 9, 30, 77, 5, 61, 8, 23, 50, 31, 3, 18, 66, 4, 71, 15, 29, 80];

const load = (base: string, options: LoadOptions = {}) => loadModel(base, platform, { threads: 1, ...options });

/** One process's model, and that of ranks which hold it together. */
async function models(base: string, count: number, options: LoadOptions = {}) {
  const alone = await load(base, options);
  const staged = await Promise.all(ranksInProcess(count).map((ranks) => load(base, { ...options, ranks })));
  return { alone, staged, dispose: () => Promise.all([alone, ...staged].map((model) => model.dispose())) };
}

/** Loss of the rows, logits after a prompt and after each of ten greedy tokens, and the answer to messages. */
async function asked(model: LoadedModel, adapterFolder: string | undefined) {
  const adapter = adapterFolder === undefined ? undefined : await applyAdapter(model, adapterFolder);
  const own = adapter ? { adapter } : {};
  const { loss } = await evaluate(model, rows, own);
  const { text, tokenIds } = await generate(model, { tokenIds: PROMPT }, { ...own, maxNewTokens: 10 }).result();
  const sequence = new Sequence(model.decoder, PROMPT.length + 10, adapter?.resident);
  const logits = [(await sequence.feed(PROMPT)).slice()];
  for (const id of tokenIds) logits.push((await sequence.feed([id])).slice());
  sequence.dispose();
  const messages = [{ role: "user", content: "a question" }];
  const sampled = await generate(model, { messages }, { ...own, maxNewTokens: 8, temperature: 1, seed: 3 }).result();
  return { loss, logits, text, tokenIds, sampled: sampled.tokenIds };
}

const worst = (found: Float32Array[], expected: Float32Array[]) =>
  Math.max(...expected.map((logits, i) => relativeError(found[i]!, logits)));

const CASES = [
  ["llama3", 2, {}],
  ["llama3", 3, { basePrecision: "nf4" }],
  ["gemma3_text", 2, {}],
  ["qwen3", 2, {}],
  ["phi3", 2, { basePrecision: "int8" }],
] as const;

it.each(CASES)("%s in %s stages says what one process says: %o", async (name, count, options) => {
  const { alone, staged, dispose } = await models(familyFolder(folder, name), count, options);
  const shapes = staged.map(({ resident }) => resident.weights.size);
  for (const size of shapes) expect(size).toBeLessThan(alone.resident.weights.size);
  for (const adapter of [undefined, join(VECTORS, name, "all")]) {
    const expected = await asked(alone, adapter);
    for (const found of await Promise.all(staged.map((model) => asked(model, adapter)))) {
      expect(Math.abs(found.loss / expected.loss - 1)).toBeLessThan(1e-6);
      expect(worst(found.logits, expected.logits)).toBeLessThan(1e-5);
      expect([found.text, found.tokenIds, found.sampled]).toEqual([expected.text, expected.tokenIds, expected.sampled]);
    }
  }
  await dispose();
});

it("a suite is answered as by one process; what asks for the whole model is refused by name", async () => {
  const { alone, staged, dispose } = await models(familyFolder(folder, "llama3"), 2);
  const suite = join(folder, "suite.json");
  const texts = ["the first of the texts", "and another one"];
  const facts = [
    { ask: "who?", answer: "a" },
    { ask: "what?", answer: "b" },
  ];
  writeFileSync(suite, JSON.stringify({ max_new_tokens: 6, facts, texts }));
  const found = async (model: LoadedModel) => {
    const adapter = await applyAdapter(model, join(VECTORS, "llama3", "all"));
    const { answers, texts: scores } = await evaluateSuite(model, suite, { adapter });
    return { answers, nll: scores.flatMap(({ before, after }) => [before.nll, after!.nll]) };
  };
  const expected = await found(alone);
  for (const { answers, nll } of await Promise.all(staged.map(found))) {
    expect(answers).toEqual(expected.answers);
    for (const [i, value] of nll.entries()) expect(Math.abs(value / expected.nll[i]! - 1)).toBeLessThan(1e-6);
  }
  const [first] = staged;
  const adapter = await applyAdapter(first!, join(VECTORS, "llama3", "all"));
  await expect(mergeAdapter(first!, adapter)).rejects.toThrow("is held by 2 ranks together");
  expect(() => createAdapterRegistry(first!)).toThrow("is held by 2 ranks together");
  const [rank] = ranksInProcess(2);
  await expect(load(first!.name, { ranks: rank!, quantize: "int8" })).rejects.toThrow(
    "`quantize` is for a base that one",
  );
  await expect(load(first!.name, { ranks: rank!, basePrecision: "nf4", baseCache: true })).rejects.toThrow(
    "base_cache is for a base that one",
  );
  await expect(load(first!.name, { ranks: ranksInProcess(9)[0]! })).rejects.toThrow("9 ranks cannot hold 3 blocks");
  await dispose();
});
