import { afterAll, describe, expect, it } from "vitest";
import { MARKS, type Sample } from "../../src/data/sample.js";
import { atTemperature } from "../../src/models/index.js";
import { uploadTensors } from "../../src/runtime/index.js";
import type { HostTensor } from "../../src/tensor/index.js";
import { BlockTrainer } from "../../src/training/block-trainer.js";
import { advantagesOf } from "../../src/training/objectives/grpo-advantages.js";
import { createObjective, type ObjectiveSettings, objectiveOptions } from "../../src/training/objectives/index.js";
import { Scorer } from "../../src/training/scorer.js";
import { cpuDevice } from "./evaluate.js";
import { expectedUnder, readAdapterOf, readCase, readJson, readTensors, VECTORS, worstError } from "./vectors.js";

/** Made by TRL itself: test/reference/make_grpo.py. */
interface Expected {
  readonly rows: readonly Row[];
  readonly prompts: number;
  readonly longest: number;
  readonly weights: readonly [number, number];
  readonly optimizer: { lr: number; betas: [number, number]; eps: number; weight_decay: number; max_grad_norm: number };
  readonly cases: readonly {
    readonly objective: Readonly<Record<string, unknown>>;
    readonly steps: readonly {
      readonly loss: number;
      readonly metrics: Readonly<Record<string, number>>;
      readonly advantages?: readonly number[];
    }[];
  }[];
}

interface Row {
  readonly prompt: readonly number[];
  readonly completions: readonly (readonly number[])[];
  readonly first: readonly number[];
  readonly second: readonly (number | null)[];
}

const TOLERANCE = 1e-4;
const EOS = 2;
const folder = `${VECTORS}grpo`;
const {
  rows,
  prompts,
  longest,
  weights: rewardWeights,
  optimizer,
  cases,
} = readJson(`${folder}/expected.json`) as Expected;
const base = readCase("llama3");
const made = { ...base, expected: readTensors(`${folder}/expected.safetensors`) };
const adapter = readAdapterOf(base, "qv");
const device = await cpuDevice();
const model = { device, config: base.config, weights: uploadTensors(device, base.weights) };
afterAll(() => device.dispose());

const off = (found: number, expected: number, least = 1e-2) =>
  Math.abs(found - expected) / Math.max(Math.abs(expected), least);
const values = (tensors: ReadonlyMap<string, HostTensor>) =>
  new Map([...tensors].map(([name, { data }]) => [name, data as Float32Array]));
const stepOptions = { lr: optimizer.lr, maxGradNorm: optimizer.max_grad_norm };

function settingsOf(objective: Readonly<Record<string, unknown>>): ObjectiveSettings {
  const camel = (key: string) => key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
  const settings = Object.fromEntries(Object.entries(objective).map(([key, x]) => [camel(key), x]));
  return { name: "grpo", maxCompletionLength: longest, ...settings } as ObjectiveSettings;
}

/** The completions of a step's prompts with their advantages, and what the two rewards of TRL's run say of them. */
function rolloutsOf(chosen: readonly Row[], settings: ObjectiveSettings) {
  const options = objectiveOptions(settings);
  const generations = chosen[0]!.completions.length;
  const rewarded = (["first", "second"] as const).map((name, i) => ({
    name,
    weight: rewardWeights[i]!,
    scores: chosen.flatMap((row) => row[name]),
  }));
  const found = advantagesOf(rewarded, { ...options, generations });
  const samples = chosen.flatMap(({ prompt, completions }, p) =>
    completions.map((completion, g): Sample => {
      const ids = Int32Array.of(...prompt, ...completion);
      const supervised = new Uint8Array(ids.length).fill(MARKS.target, prompt.length);
      const masked = options.maskTruncatedCompletions && completion.at(-1) !== EOS;
      return { index: p, ids, supervised, rollout: { advantage: found.advantages[p * generations + g]!, masked } };
    }),
  );
  return { ...found, samples };
}

async function trainerFor(settings: ObjectiveSettings, more: object = {}) {
  const { temperature } = objectiveOptions(settings);
  const tempered = { ...model, config: atTemperature(model.config, temperature) };
  const trainer = new BlockTrainer(tempered, {
    trainables: { kind: "lora", lora: adapter.lora },
    initial: adapter.tensors,
    optimizer: { betas: optimizer.betas, eps: optimizer.eps, weightDecay: optimizer.weight_decay },
    objective: createObjective(settings),
    seed: 1,
    ...more,
  });
  return { trainer, reference: new Scorer(tempered) };
}

type Parts = Awaited<ReturnType<typeof trainerFor>>;

/** The samples with what the model and the reference say of them now. */
async function heard({ trainer, reference }: Parts, samples: readonly Sample[], settings: ObjectiveSettings) {
  const { beta, numIterations } = objectiveOptions(settings);
  const old = numIterations > 1 ? await trainer.score(samples) : undefined;
  const said = beta > 0 ? await reference.score(samples) : undefined;
  return samples.map((sample, i): Sample => {
    const more = { ...(old ? { oldLogps: old[i]! } : {}), ...(said ? { referenceLogps: said[i]! } : {}) };
    return { ...sample, rollout: { ...sample.rollout!, ...more } };
  });
}

describe.each(cases.map((one, i) => ({ ...one, i, title: JSON.stringify(one.objective) })))(
  "$title",
  ({ objective, steps, i }) => {
    const settings = settingsOf(objective);
    const { numIterations } = objectiveOptions(settings);

    it("has TRL's advantages, loss, metrics and gradients in every step, and TRL's adapter after them", async () => {
      const parts = await trainerFor(settings);
      const { trainer } = parts;
      let samples: Sample[] = [];
      for (const [step, { loss, metrics, advantages }] of steps.entries()) {
        let told: Readonly<Record<string, number>> = {};
        if (step % numIterations === 0) {
          const first = (step / numIterations) * prompts;
          const rolled = rolloutsOf(rows.slice(first, first + prompts), settings);
          for (const [at, advantage] of advantages!.entries())
            expect(off(rolled.advantages[at]!, advantage), `advantage ${at} of step ${step}`).toBeLessThan(TOLERANCE);
          told = rolled.metrics;
          samples = await heard(parts, rolled.samples, settings);
        }
        if (step < 2) {
          const { gradients } = await trainer.gradientsOf([samples]);
          const wanted = expectedUnder(made, `${i}.grad${step}.`);
          const worst = worstError(new Map([...values(gradients)].filter(([name]) => wanted.has(name))), wanted);
          expect(wanted.size).toBeGreaterThan(3);
          expect(worst.error, `${worst.name} of step ${step}`).toBeLessThan(TOLERANCE);
        }
        const found = await trainer.step([samples], stepOptions);
        expect(off(found.loss, loss), `loss of step ${step}: ${found.loss}, TRL's ${loss}`).toBeLessThan(TOLERANCE);
        const all = { ...told, ...found.metrics };
        // What is told of rewards comes with a step that samples, what is told of lengths is the recipe's.
        const own = /^(kl|entropy|clip_ratio)/;
        const shown = Object.entries(metrics).filter(([name]) => own.test(name) || name in all);
        expect(shown.length).toBeGreaterThan(5);
        for (const [name, value] of shown)
          expect(off(all[name] ?? Number.NaN, value), `${name} of step ${step}`).toBeLessThan(TOLERANCE);
      }
      const wanted = expectedUnder(made, `${i}.after.`);
      const after = values((await trainer.state()).parameters);
      const worst = worstError(new Map([...after].filter(([name]) => wanted.has(name))), wanted);
      expect(worst.error, worst.name).toBeLessThan(TOLERANCE);
      await trainer.dispose();
      await parts.reference.dispose();
    });

    it("k micro-batches are one batch, with checkpointing too", async () => {
      const parts = await trainerFor(settings, { checkpointing: true });
      const { trainer } = parts;
      const rolled = rolloutsOf(rows.slice(0, prompts), settings);
      const begun = await heard(parts, rolled.samples, settings);
      await trainer.step([begun], stepOptions); // now ratios are not 1
      const one = await trainer.gradientsOf([begun]);
      const { loss, gradients } = await trainer.gradientsOf([begun.slice(0, 3), begun.slice(3, 4), begun.slice(4)]);
      expect(off(loss, one.loss)).toBeLessThan(1e-5);
      const worst = worstError(values(gradients), values(one.gradients));
      expect(worst.error, worst.name).toBeLessThan(2e-5);
      await trainer.dispose();
      await parts.reference.dispose();
    });
  },
);
