import { afterAll, describe, expect, it } from "vitest";
import { MARKS, type Sample, type Side, together } from "../../src/data/sample.js";
import { uploadTensors } from "../../src/runtime/index.js";
import type { HostTensor } from "../../src/tensor/index.js";
import { BlockTrainer } from "../../src/training/block-trainer.js";
import { createObjective, OBJECTIVES, type ObjectiveSettings } from "../../src/training/objectives/index.js";
import type { ScoringObjective } from "../../src/training/objectives/objective.js";
import { Scorer } from "../../src/training/scorer.js";
import { cpuDevice } from "./evaluate.js";
import {
  CASES,
  expectedUnder,
  readAdapterOf,
  readCase,
  readJson,
  readTensors,
  VECTORS,
  worstError,
} from "./vectors.js";

/** Made by TRL itself: test/reference/make_preferences.py. */
interface Expected {
  readonly rows: readonly { prompt: number[]; chosen: number[]; rejected: number[]; label: boolean }[];
  readonly batch: number;
  readonly optimizer: { lr: number; betas: [number, number]; eps: number; weight_decay: number; max_grad_norm: number };
  readonly cases: readonly {
    readonly objective: Readonly<Record<string, unknown>> & {
      readonly name: keyof typeof OBJECTIVES;
      /** What every prompt begins with, which makes it long enough to be computed once for both answers. */
      readonly before?: readonly number[];
    };
    readonly steps: readonly { readonly loss: number; readonly metrics: Readonly<Record<string, number>> }[];
  }[];
}

const TOLERANCE = 1e-4;
const folder = `${VECTORS}preferences`;
const { rows, batch, optimizer, cases } = readJson(`${folder}/expected.json`) as Expected;
const base = readCase("llama3");
const trained = { ...base, expected: readTensors(`${folder}/expected.safetensors`) };
const adapter = readAdapterOf(base, "qv");
const device = await cpuDevice();
const weights = uploadTensors(device, base.weights);
const model = { device, config: base.config, weights };
afterAll(() => device.dispose());

const sample = (index: number, prompt: readonly number[], answer: readonly number[], side: Side): Sample => ({
  index,
  ids: Int32Array.of(...prompt, ...answer),
  supervised: new Uint8Array(prompt.length + answer.length).fill(MARKS.target, prompt.length),
  side,
});

/** The rows as an objective takes them, four a step. */
function stepsOf(
  name: keyof typeof OBJECTIVES,
  { sequences }: ScoringObjective,
  before: readonly number[] = [],
): Sample[][] {
  const longer = rows.map((row) => ({ ...row, prompt: [...before, ...row.prompt] }));
  const plain = longer.map(({ prompt, chosen, rejected, label }, i) =>
    OBJECTIVES[name].rows === "pairs"
      ? { ...sample(i, prompt, chosen, "chosen"), beside: [sample(i, prompt, rejected, "rejected")] }
      : sample(i, prompt, label ? chosen : rejected, label ? "desirable" : "undesirable"),
  );
  const all = together(sequences?.(plain, { perStep: batch, eosId: 2, maxSeqLen: 64 }) ?? plain);
  return Array.from({ length: rows.length / batch }, (_, step) =>
    all.filter(({ index }) => Math.floor(index / batch) === step),
  );
}

/** What the model without its adapter says of the answers. */
async function referencesOf(samples: readonly Sample[]): Promise<Map<Sample, number>> {
  const scorer = new Scorer(model);
  const sums = new Map<Sample, number>();
  for (const own of samples) {
    const [logps] = await scorer.score([own]);
    sums.set(
      own,
      Array.from(logps!).reduce((a, b) => a + b, 0),
    );
  }
  await scorer.dispose();
  return sums;
}

function settingsOf(objective: Readonly<Record<string, unknown>>): ObjectiveSettings {
  const camel = (key: string) => key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
  return Object.fromEntries(Object.entries(objective).map(([key, x]) => [camel(key), x])) as ObjectiveSettings;
}

async function trainerFor(objective: ScoringObjective, steps: readonly Sample[][], more: object = {}) {
  return new BlockTrainer(model, {
    trainables: { kind: "lora", lora: adapter.lora },
    initial: adapter.tensors,
    optimizer: { betas: optimizer.betas, eps: optimizer.eps, weightDecay: optimizer.weight_decay },
    objective,
    references: objective.usesReference ? await referencesOf(steps.flat()) : new Map(),
    seed: 1,
    ...more,
  });
}

const values = (tensors: ReadonlyMap<string, HostTensor>) =>
  new Map([...tensors].map(([name, { data }]) => [name, data as Float32Array]));
const options = { lr: optimizer.lr, maxGradNorm: optimizer.max_grad_norm };
const off = (found: number, expected: number) => Math.abs(found - expected) / Math.max(Math.abs(expected), 1e-2);

describe.each(cases.map((one, i) => ({ ...one, i, title: Object.values(one.objective).join(" ") })))(
  "$title",
  ({ objective: { before, ...described }, steps: expected, i }) => {
    const objective = createObjective(settingsOf(described)) as ScoringObjective;
    const steps = stepsOf(described.name, objective, before);

    it("has TRL's loss and metrics in every step, and TRL's adapter after them", async () => {
      const trainer = await trainerFor(objective, steps);
      for (const [step, { loss, metrics }] of expected.entries()) {
        const found = await trainer.step([steps[step]!], options);
        expect(off(found.loss, loss), `loss of step ${step}: ${found.loss}, TRL's ${loss}`).toBeLessThan(TOLERANCE);
        expect(Object.keys(metrics).length).toBeGreaterThan(4);
        for (const [name, value] of Object.entries(metrics))
          expect(off(found.metrics[name]!, value), `${name} of step ${step}`).toBeLessThan(TOLERANCE);
      }
      const after = values((await trainer.state()).parameters);
      const wanted = expectedUnder(trained, `${i}.`);
      const worst = worstError(new Map([...after].filter(([name]) => wanted.has(name))), wanted);
      expect(worst.error, worst.name).toBeLessThan(TOLERANCE);
      await trainer.dispose();
    });

    const isWhole = [described.loss_type].flat().some((type) => /^aot/.test(String(type)));
    it.skipIf(isWhole)("k micro-batches, packed or not, are one batch, with checkpointing too", async () => {
      const whole = await trainerFor(objective, steps);
      const parts = await trainerFor(objective, steps, { checkpointing: true });
      const one = await whole.gradientsOf([steps[0]!]);
      const groups = [0, 1, 2, 3].map((row) => steps[0]!.filter(({ index }) => index === row));
      for (const micro of [groups, [groups[2]!, [...groups[0]!, ...groups[3]!, ...groups[1]!]]]) {
        const { loss, gradients } = await parts.gradientsOf(micro);
        expect(off(loss, one.loss)).toBeLessThan(1e-5);
        const worst = worstError(values(gradients), values(one.gradients));
        expect(worst.error, worst.name).toBeLessThan(2e-5);
      }
      const { loss, metrics } = await whole.validate(groups);
      expect(off(loss, one.loss)).toBeLessThan(1e-5);
      for (const [name, value] of Object.entries(expected[0]!.metrics))
        expect(off(metrics[name]!, value), name).toBeLessThan(TOLERANCE);
      for (const trainer of [whole, parts]) await trainer.dispose();
    });
  },
);

it("every weight of the model is trained by the same weights of tokens: the head's gradient waits for them", async () => {
  const objective = createObjective({ name: "simpo" }) as ScoringObjective;
  const [step] = stepsOf("simpo", objective);
  const full = new BlockTrainer(
    { ...model, weights: new Map() },
    {
      trainables: { kind: "full" },
      initial: base.weights,
      optimizer: { betas: [0.9, 0.99], eps: 1e-6, weightDecay: 0 },
      objective,
      seed: 1,
    },
  );
  const { gradients, loss } = await full.gradientsOf([step!]);
  const name = "model.norm.weight";
  const moved = async (by: number) => {
    const norm = base.weights.get(name)!;
    const gradient = gradients.get(name)!.data as Float32Array;
    const data = (norm.data as Float32Array).map((x, i) => x + by * gradient[i]!);
    const state = await full.state();
    await full.restore({ ...state, parameters: new Map([...state.parameters, [name, { ...norm, data }]]) });
    return (await full.validate([step!])).loss;
  };
  const squared = (gradients.get(name)!.data as Float32Array).reduce((sum, g) => sum + g * g, 0);
  const by = 1e-2 / Math.sqrt(squared);
  const slope = ((await moved(by)) - (await moved(-by))) / (2 * by);
  expect(loss).toBeGreaterThan(0);
  expect(Math.abs(slope / squared - 1)).toBeLessThan(1e-2);
  await full.dispose();
});

describe.each(CASES)("%s: rows' gradients that are weighed afterwards are those weighed before", (name) => {
  it.each(["all", "full"] as const)("%s", async (variant) => {
    const reference = readCase(name);
    const own = readAdapterOf(reference, "all");
    const isFull = variant === "full";
    const all = uploadTensors(device, isFull ? new Map() : reference.weights);
    const { share: _, ...weighed } = createObjective({ name: "sft" }) as ScoringObjective;
    const trainer = new BlockTrainer(
      { device, config: reference.config, weights: all },
      {
        trainables: isFull ? { kind: "full" } : { kind: "lora", lora: own.lora },
        initial: isFull ? reference.weights : own.tensors,
        optimizer: { betas: [0.9, 0.99], eps: 1e-6, weightDecay: 0 },
        objective: weighed,
        seed: 1,
      },
    );
    const { gradients } = await trainer.gradientsOf([reference.rows.slice(0, 2), reference.rows.slice(2)]);
    const expected = expectedUnder(reference, `${variant}.grad.`);
    for (const key of expected.keys()) if (key.startsWith("inputs_embeds")) expected.delete(key);
    const worst = worstError(values(gradients), expected);
    expect(worst.error, worst.name).toBeLessThan(1e-5);
    await trainer.dispose();
  });
});
