import { afterAll, expect } from "vitest";
import { type Adapter, readAdapter } from "../../src/formats/peft/adapter.js";
import { Decoder, Sequence } from "../../src/generation/decoder.js";
import { decodeTokens } from "../../src/generation/generate.js";
import { nodeFiles } from "../../src/node/files.js";
import { uploadTensors } from "../../src/runtime/index.js";
import { BlockTrainer, type BlockTrainerOptions } from "../../src/training/block-trainer.js";
import { cpuDevice } from "./evaluate.js";
import {
  type CaseName,
  expectedUnder,
  readCase,
  readJson,
  readTensors,
  relativeError,
  samplesOf,
  type Training,
  VECTORS,
  valuesOf,
  worstError,
} from "./vectors.js";

const TOLERANCE = 1e-5;
const PLAIN = { betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0 } as const;

/** What PEFT makes of one adapter of a case. */
export interface AdapterVariant {
  readonly loss_sum: number;
  readonly greedy: readonly number[];
  readonly training: Training;
}

/** Adapters that PEFT saved on the model of a case, with what it makes of them, and the base on a device. */
export async function openAdapterCase<Name extends string>(name: string, of: CaseName, names: readonly Name[]) {
  const folder = `${VECTORS}${name}`;
  const base = readCase(of);
  const json = readJson(`${folder}/expected.json`) as {
    rows: { ids: number[]; supervised: number[] }[];
    prompt: number[];
  } & Record<Name, AdapterVariant>;
  const { rows, prompt } = json;
  const device = await cpuDevice();
  afterAll(() => device.dispose());
  const { config } = base;
  const weights = uploadTensors(device, base.weights);
  const adapters = {} as Record<Name, Adapter>;
  for (const one of names) adapters[one] = await readAdapter(nodeFiles, `${folder}/${one}`, config);
  const expected = readTensors(`${folder}/expected.safetensors`);
  const samples = samplesOf(rows);
  const variantOf = (one: Name): AdapterVariant => json[one];

  const trainerOf = (one: Name, more: Partial<BlockTrainerOptions> = {}) =>
    new BlockTrainer(
      { device, config, weights },
      {
        trainables: { kind: "lora", lora: adapters[one].config },
        initial: adapters[one].tensors,
        optimizer: PLAIN,
        seed: 1,
        ...more,
      },
    );

  /** PEFT's loss, and every gradient of it. */
  async function expectGradients(one: Name, options: Partial<BlockTrainerOptions>): Promise<void> {
    const trainer = trainerOf(one, options);
    const { lossSum } = await trainer.evaluate(samples);
    expect(Math.abs(lossSum / variantOf(one).loss_sum - 1)).toBeLessThan(TOLERANCE);
    const { gradients } = await trainer.gradientsOf([samples.slice(0, 2), samples.slice(2)]);
    const wanted = expectedUnder({ ...base, expected }, `${one}.grad.`);
    for (const key of wanted.keys()) if (key.startsWith("inputs_embeds")) wanted.delete(key);
    expect([...gradients.keys()].sort()).toEqual([...wanted.keys()].sort());
    const worst = worstError(valuesOf(gradients), wanted);
    expect(worst.error, worst.name).toBeLessThan(TOLERANCE);
    await trainer.dispose();
  }

  /** PEFT's logits after the second row, while `beside` is decoded too, and its greedy tokens after the prompt. */
  async function expectGenerated(one: Name, beside?: Name): Promise<void> {
    const decoder = new Decoder({ device, config, weights });
    const resident = (which: Name) => ({
      config: adapters[which].config,
      tensors: uploadTensors(device, adapters[which].tensors),
    });
    const own = resident(one);
    const other = beside && new Sequence(decoder, 12, resident(beside));
    await other?.feed(rows[0]!.ids);
    const sequence = new Sequence(decoder, 12, own);
    const logits = await sequence.feed(rows[1]!.ids);
    const whole = expected.get(`${one}.logits.1`)!.data as Float32Array;
    expect(relativeError(logits, whole.subarray(11 * config.vocabSize))).toBeLessThan(TOLERANCE);
    for (const text of [sequence, other]) text?.dispose();
    const tokens: number[] = [];
    const { greedy } = variantOf(one);
    const options = { temperature: 0, maxNewTokens: greedy.length, stopIds: new Set<number>() };
    for await (const id of decodeTokens(decoder, prompt, options, own)) tokens.push(id);
    expect(tokens).toEqual(greedy);
    decoder.dispose();
  }

  return { folder, base, config, samples, expected, adapters, variantOf, trainerOf, expectGradients, expectGenerated };
}
