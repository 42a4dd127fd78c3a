import { afterAll, describe, expect, it } from "vitest";
import { Decoder, type ResidentAdapter, Sequence } from "../../src/generation/decoder.js";
import { decodeTokens } from "../../src/generation/generate.js";
import { lengthClass } from "../../src/models/index.js";
import type { Device } from "../../src/runtime/index.js";
import { uploadTensors } from "../../src/runtime/index.js";
import { deviceHere } from "../conformance/run.js";
import { cpuDevice } from "./evaluate.js";
import { CASES, type ReferenceCase, readAdapterOf, readCase, relativeError } from "./vectors.js";

const TOLERANCE = 1e-5;
const devices = { "the JavaScript binding": await cpuDevice(), "the C library": await deviceHere("native", 1) };
afterAll(() => Promise.all(Object.values(devices).map((device) => device.dispose())));

const VARIANTS = ["base", "qv", "all"] as const;

const RUNS = CASES.flatMap((name) => Object.entries(devices).map(([through, device]) => ({ name, through, device })));

describe.each(RUNS)("decoding $name through $through equals PyTorch + PEFT", ({ name, device }) => {
  const reference = readCase(name);
  const { config, rows, prompt, variants } = reference;
  const decoder = new Decoder({ device, config, weights: uploadTensors(device, reference.weights) });
  afterAll(() => decoder.dispose());

  it.each(VARIANTS)("%s: greedy tokens", async (variant) => {
    const expected = variants[variant].greedy;
    const options = { temperature: 0, maxNewTokens: expected.length, stopIds: new Set([2]) };
    const tokens: number[] = [];
    for await (const id of decodeTokens(decoder, prompt, options, adapterOf(device, reference, variant)))
      tokens.push(id);
    expect(tokens).toEqual(expected);
  });

  it.each(VARIANTS)("%s: the cache, filled in any pieces, gives the logits of the whole text", async (variant) => {
    const adapter = adapterOf(device, reference, variant);
    for (const pieces of [[31], [1, 30], [9, 1, 8, 1, 12]]) {
      const sequence = new Sequence(decoder, 31, adapter);
      for (const size of pieces) {
        const start = sequence.length;
        const logits = await sequence.feed([...rows[3]!.ids.subarray(start, start + size)]);
        // a text that is still short may turn otherwise than the whole one
        if (lengthClass(config, start + size) !== lengthClass(config, 31)) continue;
        const { data } = reference.expected.get(`${variant}.logits.3`)!;
        const at = (start + size - 1) * config.vocabSize;
        const expected = (data as Float32Array).subarray(at, at + config.vocabSize);
        expect(relativeError(logits, expected), `position ${start + size - 1}`).toBeLessThan(TOLERANCE);
      }
      sequence.dispose();
    }
  });

  it.each(VARIANTS)("%s: scored in pieces, a text has the logits of every one of its tokens", async (variant) => {
    const ids = [...rows[3]!.ids];
    const sequence = new Sequence(decoder, ids.length, adapterOf(device, reference, variant));
    const { data } = reference.expected.get(`${variant}.logits.3`)!;
    for (let at = 0; at < ids.length; at += 9) {
      const piece = ids.slice(at, at + 9);
      const size = piece.length * config.vocabSize;
      const logits = (await sequence.score(piece, ids.length)).subarray(0, size);
      const expected = (data as Float32Array).subarray(at * config.vocabSize, at * config.vocabSize + size);
      expect(relativeError(logits, expected), `from ${at} on`).toBeLessThan(TOLERANCE);
    }
    sequence.dispose();
  });

  it("adapters share the base without mixing: sequences that take turns keep to their own", async () => {
    const sequences = VARIANTS.map((variant) => new Sequence(decoder, 12, adapterOf(device, reference, variant)));
    for (let position = 0; position < 12; position++) {
      for (const [i, variant] of VARIANTS.entries()) {
        const logits = await sequences[i]!.feed([rows[1]!.ids[position]!]);
        const { data } = reference.expected.get(`${variant}.logits.1`)!;
        const at = position * config.vocabSize;
        const expected = (data as Float32Array).subarray(at, at + config.vocabSize);
        expect(relativeError(logits, expected), `${variant}, position ${position}`).toBeLessThan(TOLERANCE);
      }
    }
    for (const sequence of sequences) sequence.dispose();
  });

  it("a rewound sequence forgets what came after", async () => {
    const sequence = new Sequence(decoder, 31);
    await sequence.feed([...rows[3]!.ids]);
    sequence.rewind(1);
    const logits = await sequence.feed([...rows[1]!.ids.subarray(1)]);
    const { data } = reference.expected.get("base.logits.1")!;
    expect(relativeError(logits, (data as Float32Array).subarray(11 * config.vocabSize))).toBeLessThan(TOLERANCE);
    sequence.dispose();
  });
});

function adapterOf(
  device: Device,
  reference: ReferenceCase,
  variant: (typeof VARIANTS)[number],
): ResidentAdapter | undefined {
  if (variant === "base") return undefined;
  const { lora, tensors } = readAdapterOf(reference, variant);
  return { config: lora, tensors: uploadTensors(device, tensors) };
}
