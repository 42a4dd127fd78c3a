import { afterAll, describe, expect, it } from "vitest";
import type { Sample } from "../../src/data/sample.js";
import type { SavePolicy } from "../../src/graph/index.js";
import type { View } from "../../src/runtime/index.js";
import { uploadTensors } from "../../src/runtime/index.js";
import type { HostTensor } from "../../src/tensor/index.js";
import { BlockTrainer, type TrainerModel } from "../../src/training/block-trainer.js";
import type { Trainables } from "../../src/training/layer-plan.js";
import { cpuDevice } from "./evaluate.js";
import {
  CASES,
  type CaseName,
  expectedUnder,
  type ReferenceCase,
  readAdapterOf,
  readCase,
  worstError,
} from "./vectors.js";

const TOLERANCE = 1e-5;
const REFERENCES = new Map(CASES.map((name) => [name, readCase(name)]));
/** The Llamas are tried in every way, the other families, whose blocks go the same ways, in the first two. */
const LLAMAS: readonly string[] = ["llama2", "llama3", "bias"];
const ADAPTED = CASES.flatMap((name) =>
  (["qv", "all", "full"] as const)
    .filter((variant) => LLAMAS.includes(name) || variant !== "qv")
    .map((variant) => ({ name, variant })),
);
const WAYS: readonly { way: string; checkpointing?: boolean; save?: SavePolicy }[] = [
  { way: "cheap results recomputed" },
  { way: "checkpointing", checkpointing: true },
  { way: "everything saved", save: "all" },
  { way: "checkpointing, nothing saved", checkpointing: true, save: "none" },
];

const device = await cpuDevice();
afterAll(() => device.dispose());

describe.each(ADAPTED)("training $name, $variant, equals PyTorch + PEFT", ({ name, variant }) => {
  const reference = REFERENCES.get(name)!;
  const expected = expectedUnder(reference, `${variant}.grad.`);
  for (const key of expected.keys()) if (key.startsWith("inputs_embeds")) expected.delete(key);

  it("loss of rows alone and packed", async () => {
    const trainer = await trainerFor(reference, variant);
    const { loss_sum, supervised_tokens } = reference.variants[variant === "full" ? "base" : variant];
    const packed = await trainer.evaluate(reference.rows);
    expect(packed.supervisedTokens).toBe(supervised_tokens);
    expect(Math.abs(packed.lossSum / loss_sum - 1)).toBeLessThan(TOLERANCE);
    let alone = 0;
    for (const row of reference.rows) alone += (await trainer.evaluate([row])).lossSum;
    expect(Math.abs(alone / loss_sum - 1)).toBeLessThan(TOLERANCE);
    await trainer.dispose();
  });

  it.each(LLAMAS.includes(name) ? WAYS : WAYS.slice(0, 2))("every gradient, $way", async ({ way: _, ...options }) => {
    const trainer = await trainerFor(reference, variant, options);
    const { gradients } = await trainer.gradientsOf([reference.rows]);
    const worst = worstError(values(gradients), expected);
    expect(worst.error, worst.name).toBeLessThan(TOLERANCE);
    await trainer.dispose();
  });

  it("every gradient, packed or accumulated: no leak between samples, every supervised token weighs the same", async () => {
    const trainer = await trainerFor(reference, variant);
    for (const batches of [
      [
        [3, 1],
        [0, 4, 2],
      ],
      [[0], [1], [2], [3], [4]],
    ]) {
      const { gradients } = await trainer.gradientsOf(batches.map((batch) => pick(reference, batch)));
      const worst = worstError(values(gradients), expected);
      expect(worst.error, worst.name).toBeLessThan(TOLERANCE);
    }
    await trainer.dispose();
  });

  it("ten AdamW steps with clipping and accumulation", async () => {
    const trainer = await trainerFor(reference, variant);
    const { training } = reference.variants[variant];
    for (const [i, microBatches] of training.micro_batches.entries()) {
      const batches = microBatches.map((batch) => pick(reference, batch));
      const result = await trainer.step(batches, { lr: training.lr[i]!, maxGradNorm: training.max_grad_norm });
      expect(result.applied).toBe(true);
      expect(Math.abs(result.loss / training.losses[i]! - 1), `loss of step ${i}`).toBeLessThan(5e-5);
      expect(Math.abs(result.gradNorm / training.grad_norms[i]! - 1), `norm of step ${i}`).toBeLessThan(5e-5);
    }
    if (variant !== "full") {
      const { parameters } = await trainer.state();
      const worst = worstError(values(parameters), expectedUnder(reference, `${variant}.trained.`));
      expect(worst.error, worst.name).toBeLessThan(5e-5);
    }
    await trainer.dispose();
  });
});

it("an adapter moves with the first step and the base does not", async () => {
  const reference = REFERENCES.get("llama3")!;
  const trainer = await trainerFor(reference, "all");
  const before = values((await trainer.state()).parameters);
  await trainer.step([reference.rows], { lr: 1e-3, maxGradNorm: 1 });
  const after = values((await trainer.state()).parameters);
  for (const [name, value] of before) expect(after.get(name), name).not.toEqual(value);
  const onDevice = weightsOf(reference);
  for (const [name, { data }] of reference.weights) {
    expect(await device.download(onDevice.get(name)!), name).toEqual(data);
  }
  await trainer.dispose();
});

const uploaded = new Map<CaseName, Map<string, View>>();

/** The frozen weights of a case, uploaded once. */
function weightsOf({ name, weights }: ReferenceCase): Map<string, View> {
  if (!uploaded.has(name)) uploaded.set(name, uploadTensors(device, weights));
  return uploaded.get(name)!;
}

async function trainerFor(
  reference: ReferenceCase,
  variant: "qv" | "all" | "full",
  options: { checkpointing?: boolean; save?: SavePolicy } = {},
): Promise<BlockTrainer> {
  const { betas, eps, weight_decay } = reference.variants[variant].training;
  const adapter = variant === "full" ? undefined : readAdapterOf(reference, variant);
  const trainables: Trainables = adapter ? { kind: "lora", lora: adapter.lora } : { kind: "full" };
  const weights = adapter ? weightsOf(reference) : new Map<string, View>();
  const model: TrainerModel = { device, config: reference.config, weights };
  return new BlockTrainer(model, {
    trainables,
    initial: adapter?.tensors ?? reference.weights,
    optimizer: { betas, eps, weightDecay: weight_decay },
    seed: 1,
    ...options,
  });
}

const pick = ({ rows }: ReferenceCase, indices: readonly number[]): Sample[] => indices.map((i) => rows[i]!);

const values = (tensors: ReadonlyMap<string, HostTensor>): Map<string, Float32Array> =>
  new Map([...tensors].map(([name, { data }]) => [name, data as Float32Array]));
