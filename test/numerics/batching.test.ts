import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { AdapterStack, type ResidentAdapter } from "../../src/generation/adapter-stack.js";
import { Decoder, Sequence } from "../../src/generation/decoder.js";
import { decodeTokens } from "../../src/generation/generate.js";
import { type LoraConfig, linearLora, linearShape, SEPARATE, weightName } from "../../src/models/index.js";
import { uploadTensors } from "../../src/runtime/index.js";
import { random } from "../../src/tensor/index.js";
import { deviceHere } from "../conformance/run.js";

import { readCase } from "./vectors.js";

// Texts of one step keep to themselves: with whatever adapters, ranks, strengths and lengths, each gets what it gets alone.
const device = await deviceHere("native", 1);
afterAll(() => device.dispose());
const { config, weights, rows } = readCase("llama3");
const resident = { device, config, weights: uploadTensors(device, weights) };

/** An adapter of random numbers; `value` is what is drawn. */
function adapter(seed: number, own: Partial<LoraConfig>, value = (normal: number) => 0.2 * normal): ResidentAdapter {
  const lora: LoraConfig = {
    r: 4,
    alpha: 8,
    dropout: 0,
    useRslora: false,
    init: "gaussian",
    targetModules: ["q_proj", "v_proj"],
    ...own,
  };
  const rng = random(seed, "adapter");
  const tensors: Record<string, { dtype: "f32"; shape: number[]; data: Float32Array }> = {};
  for (let layer = 0; layer < config.numHiddenLayers; layer++) {
    for (const name of lora.targetModules) {
      const [out, input] = linearShape(config, name);
      const r = linearLora(lora, layer, name)?.r;
      if (!r) continue;
      const fill = (shape: number[]) => ({
        dtype: "f32" as const,
        shape,
        data: Float32Array.from({ length: shape[0]! * shape[1]! }, () => value(rng.normal())),
      });
      tensors[weightName(`${name}.lora_A.weight`, layer)] = fill([r, input]);
      tensors[weightName(`${name}.lora_B.weight`, layer)] = fill([out, r]);
    }
  }
  return { config: lora, tensors: uploadTensors(device, new Map(Object.entries(tensors))) };
}

const ALL = SEPARATE;
const first = adapter(1, {});
const ADAPTERS: readonly (ResidentAdapter | undefined)[] = [
  undefined,
  first,
  { ...first, factor: 0.5 },
  adapter(2, {
    r: 12,
    targetModules: ALL,
    rankPattern: { "layers.0.self_attn.q_proj": 3 },
    alphaPattern: { v_proj: 2 },
  }),
  adapter(3, { r: 2, targetModules: ["down_proj"], layersToTransform: [1] }),
  adapter(4, { r: 9, useRslora: true, targetModules: ["o_proj", "gate_proj"] }),
];
/** Prompts and answers of uneven lengths, one of which outgrows the smallest cache. */
const TEXTS = ADAPTERS.map((own, i) => ({
  adapter: own,
  prompt: [...rows[i % rows.length]!.ids].slice(0, 3 + 4 * i),
  maxNewTokens: [9, 4, 17, 6, 12, 8][i]!,
}));

/** Decodes a text; `seed` undefined: greedily. */
async function decoded(decoder: Decoder, text: (typeof TEXTS)[number], seed?: number): Promise<number[]> {
  const { prompt, maxNewTokens } = text;
  const sampling = seed === undefined ? { temperature: 0 } : { temperature: 1.3, topP: 0.95, seed };
  const tokens: number[] = [];
  const options = { ...sampling, maxNewTokens, stopIds: new Set<number>() };
  for await (const id of decodeTokens(decoder, prompt, options, text.adapter)) tokens.push(id);
  return tokens;
}

describe.each([1, 2])("texts in one step, of at least %d rows", (leastRows) => {
  let decoder: Decoder;
  beforeAll(() => {
    decoder = new Decoder(resident);
    decoder.leastRows = leastRows;
  });
  afterAll(() => decoder.dispose());

  it("answer as each does alone: greedy and drawn, several adapters, uneven lengths, joining and leaving at any time", async () => {
    for (const seed of [undefined, 5]) {
      const alone: number[][] = [];
      for (const text of TEXTS) alone.push(await decoded(decoder, text, seed));
      expect(new Set(alone.map((tokens) => tokens.join())).size).toBe(TEXTS.length);
      const together = await Promise.all(
        TEXTS.map(async (text, i) => {
          await new Promise((resolve) => setTimeout(resolve, 2 * i));
          return decoded(decoder, text, seed);
        }),
      );
      expect(together).toEqual(alone);
    }
  });

  it("one that outgrows its cache goes on in a larger one, and those that stay do not notice", async () => {
    const long = { prompt: [...rows[3]!.ids], maxNewTokens: 250, adapter: first };
    const most = Math.min(long.maxNewTokens, config.maxPositionEmbeddings - long.prompt.length);
    const texts = [{ ...long, maxNewTokens: most }, ...TEXTS.map((text) => ({ ...text, maxNewTokens: 40 }))].filter(
      (text) => text.prompt.length + text.maxNewTokens <= config.maxPositionEmbeddings,
    );
    const alone: number[][] = [];
    for (const text of texts) alone.push(await decoded(decoder, text));
    expect(await Promise.all(texts.map((text) => decoded(decoder, text)))).toEqual(alone);
  });

  it("leaves nothing behind but the adapters' stack", async () => {
    const before = (await device.memory()).buffers;
    await Promise.all(TEXTS.map((text) => decoded(decoder, text)));
    expect((await device.memory()).buffers).toBe(before);
    for (const own of ADAPTERS) if (own) decoder.stack.forget(own.tensors);
    expect((await device.memory()).buffers).toBeLessThan(before);
  });
});

it.each([0, 2 ** 30])(
  "with two rows at least, the logits are the same to the bit whoever else is in the step (second copy: %d)",
  async (secondCopy) => {
    const decoder = new Decoder(resident);
    decoder.leastRows = 2;
    decoder.secondCopy = secondCopy;
    const logitsOf = async (among: readonly number[]) => {
      const sequences = among.map((i) => new Sequence(decoder, 20, ADAPTERS[i]));
      const seen: Float32Array[] = [];
      for (let at = 0; at < 9; at++) {
        const step = sequences.map((sequence, i) => sequence.feed([rows[3]!.ids[at + among[i]!]!]));
        seen.push((await Promise.all(step))[among.indexOf(3)]!.slice());
      }
      for (const sequence of sequences) sequence.dispose();
      return seen;
    };
    const alone = await logitsOf([3]);
    expect(await logitsOf([0, 3])).toEqual(alone);
    expect(await logitsOf([1, 2, 4, 3, 5])).toEqual(alone);
    expect(await logitsOf([5, 4, 3, 2, 1, 0])).toEqual(alone);
    decoder.dispose();
  },
);

it("an adapter whose values overflow ruins its own text alone, beside others and after it in the same memory", async () => {
  const decoder = new Decoder(resident);
  const damaged = {
    ...TEXTS[1]!,
    adapter: adapter(9, { targetModules: ALL }, (normal) => 1e38 * normal),
    maxNewTokens: 30,
  };
  const alone = await decoded(decoder, TEXTS[3]!);
  const results = await Promise.all([
    decoded(decoder, damaged),
    decoded(decoder, TEXTS[3]!),
    decoded(decoder, TEXTS[0]!),
  ]);
  expect(new Set(results[0]).size).toBe(1);
  expect(results[1]).toEqual(alone);
  await decoded(decoder, { ...damaged, maxNewTokens: 4 });
  expect(await decoded(decoder, TEXTS[3]!)).toEqual(alone);
  decoder.dispose();
});

it("leaving frees a row at once: the last text moves into it and goes on as if nothing had been", async () => {
  const decoder = new Decoder(resident);
  const alone = await decoded(decoder, TEXTS[2]!);
  const leaving = TEXTS.slice(0, 2).map(async (text) => {
    const options = { temperature: 0, maxNewTokens: 50, stopIds: new Set<number>() };
    let count = 0;
    for await (const _ of decodeTokens(decoder, text.prompt, options, text.adapter)) if (++count === 3) break;
  });
  const staying = decoded(decoder, TEXTS[2]!);
  await Promise.all(leaving);
  expect(await staying).toEqual(alone);
  decoder.dispose();
});

it("the stack gives adapters rows of their own, reuses what nobody uses, and knows an adapter again", () => {
  const stack = new AdapterStack(device, config, new Map());
  const [four, twelve] = [first, ADAPTERS[3]!];
  stack.acquire(four);
  stack.acquire(twelve);
  expect([stack.segment(four), stack.segment(twelve)]).toMatchObject([
    { start: 0, rows: 8 },
    { start: 8, rows: 16 },
  ]);
  expect(stack.extent([four])).toEqual({ rank: 8, targets: ["q_proj", "v_proj"], gains: [], biases: [] });
  expect(stack.extent([four, twelve])).toEqual({ rank: 32, targets: ALL, gains: [], biases: [] });
  stack.release(four);
  stack.acquire({ ...four, factor: 3 });
  expect(stack.segment(four)).toMatchObject({ start: 0 });
  stack.release(four);
  stack.acquire(ADAPTERS[4]!);
  expect(stack.segment(ADAPTERS[4]!)).toMatchObject({ start: 0, rows: 8 });
  expect(stack.extent([])).toEqual({ rank: 0, targets: [], gains: [], biases: [] });
  stack.acquire(four);
  expect(stack.segment(four)).toMatchObject({ start: 24 });
  stack.dispose();
});

it("a text that waits while another goes on is as it was, even where its cache is full", async () => {
  for (const waited of [1, 9, 255]) {
    const decoder = new Decoder(resident);
    const ids = (n: number) => Array.from({ length: n }, (_, i) => (7 * i + n) % config.vocabSize);
    const logitsOf = async (meanwhile: () => Promise<unknown>) => {
      const [first, second] = [new Sequence(decoder, 20), new Sequence(decoder, waited + 2, ADAPTERS[1])];
      await second.feed(ids(waited));
      await Promise.all([first.feed([1]), second.feed([3])]);
      for (let i = 0; i < 5; i++) if (await meanwhile()) await first.feed([i]);
      const logits = (await second.feed([5])).slice();
      for (const sequence of [first, second]) sequence.dispose();
      return logits;
    };
    const still = await logitsOf(async () => false);
    expect(await logitsOf(async () => true)).toEqual(still);
    decoder.dispose();
  }
});
