import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { weightNorms } from "../../src/adapters/index.js";
import { mergeWeight } from "../../src/export/merge.js";
import { type Adapter, readAdapter, writeAdapter } from "../../src/formats/peft/adapter.js";
import { Decoder, Sequence } from "../../src/generation/decoder.js";
import { decodeTokens } from "../../src/generation/generate.js";
import { define, gradient, interpret } from "../../src/graph/index.js";
import { linear } from "../../src/models/index.js";
import { nodeFiles } from "../../src/node/files.js";
import { uploadTensors } from "../../src/runtime/index.js";
import type { HostTensor } from "../../src/tensor/index.js";
import { BlockTrainer } from "../../src/training/block-trainer.js";
import { cpuDevice } from "./evaluate.js";
import {
  expectedUnder,
  readCase,
  readJson,
  readTensors,
  relativeError,
  type Training,
  VECTORS,
  worstError,
} from "./vectors.js";

const TOLERANCE = 1e-5;
const NAMES = ["some", "all"] as const;
type Name = (typeof NAMES)[number];

const folder = `${VECTORS}dora`;
const base = readCase("bias");
const { config } = base;
const { rows, prompt, ...variants } = readJson(`${folder}/expected.json`) as {
  rows: { ids: number[]; supervised: number[] }[];
  prompt: number[];
} & Record<Name, { loss_sum: number; greedy: number[]; training: Training }>;
const samples = rows.map(({ ids, supervised }, index) => ({
  index,
  ids: Int32Array.from(ids),
  supervised: Uint8Array.from(supervised),
}));
const expected = readTensors(`${folder}/expected.safetensors`);
const reference = { ...base, expected };
const adapters = {} as Record<Name, Adapter>;
const device = await cpuDevice();
const weights = uploadTensors(device, base.weights);
const values = (tensors: ReadonlyMap<string, HostTensor>) =>
  new Map([...tensors].map(([name, { data }]) => [name, data as Float32Array]));
const betas = { betas: [0.9, 0.999] as const, eps: 1e-8, weightDecay: 0 };

beforeAll(async () => {
  for (const name of NAMES) adapters[name] = await readAdapter(nodeFiles, `${folder}/${name}`, config);
});
afterAll(() => device.dispose());

const trainerOf = (
  name: Name,
  optimizer: ConstructorParameters<typeof BlockTrainer>[1]["optimizer"],
  more: object = {},
) =>
  new BlockTrainer(
    { device, config, weights },
    {
      trainables: { kind: "lora", lora: adapters[name].config },
      initial: adapters[name].tensors,
      optimizer,
      seed: 1,
      ...more,
    },
  );

describe.each(NAMES)("DoRA on a model with biases ('%s')", (name) => {
  it.each([{}, { checkpointing: true }, { save: "none" }])(
    "has PEFT's loss and every gradient: %j",
    async (options) => {
      const trainer = trainerOf(name, betas, options);
      const { lossSum } = await trainer.evaluate(samples);
      expect(Math.abs(lossSum / variants[name].loss_sum - 1)).toBeLessThan(TOLERANCE);
      const { gradients } = await trainer.gradientsOf([samples.slice(0, 2), samples.slice(2)]);
      const wanted = expectedUnder(reference, `${name}.grad.`);
      expect([...gradients.keys()].sort()).toEqual([...wanted.keys()].sort());
      const worst = worstError(values(gradients), wanted);
      expect(worst.error, worst.name).toBeLessThan(TOLERANCE);
      await trainer.dispose();
    },
  );

  it("takes PEFT's ten AdamW steps", async () => {
    const { training } = variants[name];
    const { betas, eps, weight_decay: weightDecay, max_grad_norm: maxGradNorm } = training;
    const trainer = trainerOf(name, { betas, eps, weightDecay });
    for (const [i, step] of training.micro_batches.entries()) {
      const batches = step.map((micro) => micro.map((row) => samples[row]!));
      const { loss } = await trainer.step(batches, { lr: training.lr[i]!, maxGradNorm });
      expect(Math.abs(loss / training.losses[i]! - 1), `step ${i}`).toBeLessThan(1e-4);
    }
    const { parameters } = await trainer.state();
    const worst = worstError(values(parameters), expectedUnder(reference, `${name}.trained.`));
    expect(worst.error, worst.name).toBeLessThan(2e-4);
    await trainer.dispose();
  });

  it("generates PEFT's logits and greedy tokens, alone and beside the other one", async () => {
    const decoder = new Decoder({ device, config, weights });
    const resident = Object.fromEntries(
      NAMES.map((one) => [
        one,
        { config: adapters[one].config, tensors: uploadTensors(device, adapters[one].tensors) },
      ]),
    ) as Record<Name, ConstructorParameters<typeof Sequence>[2] & object>;
    const other = new Sequence(decoder, 12, resident[name === "some" ? "all" : "some"]);
    await other.feed(rows[0]!.ids);
    const sequence = new Sequence(decoder, 12, resident[name]);
    const logits = await sequence.feed(rows[1]!.ids);
    const whole = expected.get(`${name}.logits.1`)!.data as Float32Array;
    expect(relativeError(logits, whole.subarray(11 * config.vocabSize))).toBeLessThan(TOLERANCE);
    for (const one of [sequence, other]) one.dispose();
    const tokens: number[] = [];
    const { greedy } = variants[name];
    const options = { temperature: 0, maxNewTokens: greedy.length, stopIds: new Set<number>() };
    for await (const id of decodeTokens(decoder, prompt, options, resident[name])) tokens.push(id);
    expect(tokens).toEqual(greedy);
    decoder.dispose();
  });

  it("merges as merge_and_unload does", async () => {
    const merged = expectedUnder(reference, `${name}.merged.`);
    expect(merged.size).toBe(2);
    for (const [key, wanted] of merged) {
      const weight = (base.weights.get(key)!.data as Float32Array).slice();
      await mergeWeight(key, weight, adapters[name]);
      expect(relativeError(weight, wanted), key).toBeLessThan(3e-7);
      expect(relativeError(weight, base.weights.get(key)!.data as Float32Array), key).toBeGreaterThan(0.05);
    }
  });

  it("is read and written as PEFT has it", async () => {
    const { config, tensors } = adapters[name];
    expect(config.kind).toBe("dora");
    const stored = readTensors(`${folder}/${name}/adapter_model.safetensors`);
    expect([...stored.keys()].sort()).toEqual([...tensors.keys()].map((key) => `base_model.model.${key}`).sort());
    const path = await mkdtemp(join(tmpdir(), "dora-"));
    await writeAdapter(nodeFiles, join(path, "again"), adapters[name]);
    expect(await readAdapter(nodeFiles, join(path, "again"), base.config)).toEqual({
      ...adapters[name],
      base: { name: "tiny-llama" },
    });
    expect(readJson(join(path, "again", "adapter_config.json"))).toMatchObject({ use_dora: true });
    await rm(path, { recursive: true });
  });
});

it("drops what PEFT drops: the frozen product that a gain weighs sees the dropped input", () => {
  const vectors = readTensors(`${folder}/dropout.safetensors`);
  const given = (name: string) => vectors.get(name.replace("q_proj.", ""))!;
  const config = { ...base.config, hiddenSize: 6, headDim: 5, numAttentionHeads: 1, attentionBias: true };
  const adaptation = { dropout: 0.5, lora: { q_proj: { kind: "dora", r: 2, alpha: 5, scale: 2.5 } } } as const;
  const f = define("dropped", (declare) => ({
    y: linear(declare, config, "q_proj", declare("x", [4, 6]), adaptation),
  }));
  const names: Record<string, string> = { x: "x", "q_proj.dropout_mask": "mask" };
  const norms = interpret(weightNorms("q_proj.", { kind: "dora", out: 5, in: 6, r: 2, scale: 2.5 }), {
    "q_proj.weight": given("weight"),
    "q_proj.lora_A.weight": given("lora_A.weight"),
    "q_proj.lora_B.weight": given("lora_B.weight"),
  }).norms!;
  const inputs = Object.fromEntries(
    Object.keys(f.inputs).map((name) => [name, name === "q_proj.weight_norm" ? norms : given(names[name] ?? name)]),
  );
  const trained = ["lora_A.weight", "lora_B.weight", "lora_magnitude_vector"];
  const { forward, backward } = gradient(f, ["x", ...trained.map((name) => `q_proj.${name}`)], "all");
  const made = interpret(forward, inputs);
  const close = (actual: ArrayLike<number>, name: string) =>
    expect(relativeError(actual, given(name).data as Float32Array), name).toBeLessThan(1e-6);
  close(made.y!.data, "y");
  const found = interpret(backward, { ...inputs, ...made, d_y: given("d_y") });
  for (const name of trained) close(found[`d_q_proj.${name}`]!.data, `d_${name}`);
  close(found.d_x!.data, "d_x");
});
