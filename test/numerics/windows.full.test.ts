import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { Decoder, Sequence } from "../../src/generation/decoder.js";
import { KvPool } from "../../src/generation/kv-pool.js";
import { cacheBytes, linearNames, type ModelConfig } from "../../src/models/index.js";
import { uploadTensors } from "../../src/runtime/index.js";
import { BlockTrainer } from "../../src/training/block-trainer.js";
import { initialAdapter } from "../../src/training/init.js";
import { deviceHere } from "../conformance/run.js";

import { readCase } from "./vectors.js";

// Layers with a window keep in their caches what it sees: long texts, of which these caches drop the beginning.
const devices = {
  "the JavaScript binding": await deviceHere("cpu", 1),
  "the C library": await deviceHere("native", 1),
};
afterAll(() => Promise.all(Object.values(devices).map((device) => device.dispose())));

const LENGTH = 1150;
const WHERE = [3, 519, 530, 1040, 1141, LENGTH - 1];
const ids = Array.from({ length: LENGTH }, (_, i) => (i * i + 7 * i + (i >> 3)) % 96);
const other = [...ids.slice(0, 700), ...ids.slice(0, 300).map((id) => (id + 1) % 96)];

const surprise = (logits: Float32Array, id: number): number => {
  const most = Math.max(...logits);
  return most + Math.log(logits.reduce((sum, x) => sum + Math.exp(x - most), 0)) - logits[id]!;
};

const CASES = (["mistral", "gemma2", "gemma3_text", "phi3"] as const).flatMap((name) =>
  Object.entries(devices).map(([through, device]) => ({ name, through, device })),
);

describe.each(CASES)("$name through $through", ({ name, device }) => {
  const reference = readCase(name);
  const config: ModelConfig = { ...reference.config, maxPositionEmbeddings: 4096 };
  const resident = { device, config, weights: uploadTensors(device, reference.weights) };
  let decoder: Decoder;
  beforeEach(() => {
    decoder = new Decoder(resident);
    decoder.prefixes.most = 2 ** 24;
  });
  afterEach(() => decoder.dispose());

  /** What a training step's programs, which see the whole text at once, say of single tokens. */
  async function expected(text: readonly number[], where: readonly number[]): Promise<number[]> {
    const lora = {
      r: 1,
      alpha: 1,
      dropout: 0,
      useRslora: false,
      init: "gaussian",
      targetModules: linearNames(config).slice(0, 1),
    } as const;
    const trainer = new BlockTrainer(resident, {
      trainables: { kind: "lora", lora },
      ...(await initialAdapter(config, lora, 0)),
      optimizer: { betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0 },
      seed: 0,
    });
    const found: number[] = [];
    for (const at of where) {
      const supervised = Uint8Array.from(text, (_, i) => Number(i === at));
      found.push((await trainer.evaluate([{ index: 0, ids: Int32Array.from(text), supervised }])).lossSum);
    }
    await trainer.dispose();
    return found;
  }

  /** The same by decoding: pieces up to each of the places, and some of the tokens one by one. */
  async function decoded(sequence: Sequence, text: readonly number[], where: readonly number[]): Promise<number[]> {
    const found: number[] = [];
    for (const at of where) {
      let logits = new Float32Array();
      while (sequence.length < at) {
        const left = at - sequence.length;
        const size = left > 20 ? left - 17 : 1;
        logits = (await sequence.feed(text.slice(sequence.length, sequence.length + size))).slice();
      }
      found.push(surprise(logits, text[at]!));
    }
    return found;
  }

  function expectSame(found: readonly number[], wanted: readonly number[]): void {
    for (const [i, value] of found.entries()) expect(Math.abs(value - wanted[i]!), `place ${i}`).toBeLessThan(2e-4);
  }

  // Phi turns by the text's length, so what training says of a part of a text is another text's.
  const whole = name === "phi3" ? [LENGTH - 1] : WHERE;

  it("a long text decodes to what the whole text at once gives, beside another that is shorter", async () => {
    const wanted = await expected(ids, whole);
    const short = new Sequence(decoder, 40);
    const sequence = new Sequence(decoder, LENGTH);
    await short.feed(ids.slice(0, 9));
    const [found, beside] = await Promise.all([decoded(sequence, ids, whole), decoded(short, ids, [30])]);
    expectSame(found, wanted);
    expectSame(
      beside,
      await expected(ids.slice(0, name === "phi3" ? 30 : 31).concat(name === "phi3" ? [ids[30]!] : []), [30]),
    );
    expect(sequence.starts.some((start) => start > 0)).toBe(true);
    short.dispose();
    sequence.dispose();
  });

  it("goes back and on from an earlier text's end, but not from where a window was dropped", async () => {
    const first = new Sequence(decoder, LENGTH);
    await decoded(first, ids, [LENGTH - 1]);
    first.dispose();
    const again = new Sequence(decoder, LENGTH);
    const kept = name === "phi3" ? 0 : LENGTH - 2; // Phi's long texts begin no others
    expect(again.recall([...ids.slice(0, LENGTH - 1)])).toBe(kept);
    expectSame(await decoded(again, ids, [LENGTH - 1]), await expected(ids, [LENGTH - 1]));
    again.rewind(700); // long out of the window's reach
    expectSame(await decoded(again, other, [999]), await expected(other, [999]));
    again.dispose();
    const branch = new Sequence(decoder, LENGTH);
    expect(branch.recall([...ids.slice(0, 100), 1, 2, 3])).toBe(0);
    branch.dispose();
  });
});

it("the caches of layers with a window stop growing: Gemma 3 1B's shape", async () => {
  const device = devices["the C library"];
  const { config } = readCase("gemma3_text");
  const layers = Array.from({ length: 26 }, (_, i) =>
    i % 6 === 5 ? ({ rope: "global" } as const) : ({ rope: "local", window: 512 } as const),
  );
  const gemma: ModelConfig = { ...config, layers, numHiddenLayers: 26, numKeyValueHeads: 1, headDim: 256 };
  const { layers: _, ...unbounded } = gemma;
  const before = (await device.memory()).buffers;
  const pool = new KvPool(device, gemma, 4096, 1);
  expect((await device.memory()).buffers - before).toBe(2 * cacheBytes(gemma, 4096)); // its row, and the zeros
  pool.dispose();
  expect((await device.memory()).buffers).toBe(before);
  expect(cacheBytes(gemma, 512)).toBe(cacheBytes(unbounded, 512));
  expect(cacheBytes(gemma, 32768) / cacheBytes(unbounded, 32768)).toBeLessThan(0.19);
  const added = cacheBytes(gemma, 8192) - cacheBytes(gemma, 4096);
  expect(added).toBe(2 * 4 * 4096 * 256 * 4); // of the four full layers alone
});
