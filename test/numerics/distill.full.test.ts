import { afterAll, describe, expect, it } from "vitest";
import { MARKS, type Sample } from "../../src/data/sample.js";
import { uploadTensors } from "../../src/runtime/index.js";
import { BlockTrainer } from "../../src/training/block-trainer.js";
import { createObjective } from "../../src/training/objectives/index.js";
import { Scorer } from "../../src/training/scorer.js";
import { readByTeacher, StreamTeacher, TopTeacher, type TopTokens, topTokens } from "../../src/training/teacher.js";
import { cpuDevice } from "./evaluate.js";
import {
  type CaseName,
  expectedUnder,
  readAdapterOf,
  readCase,
  readJson,
  readTensors,
  VECTORS,
  worstError,
} from "./vectors.js";

/** Made by TRL on whole logits, and PEFT: test/reference/make_distill.py. */
interface Expected {
  readonly rows: readonly number[];
  /** What a teacher that is the base itself reads before each row. */
  readonly prompt: readonly number[];
  readonly cases: readonly {
    readonly model: CaseName;
    readonly teacher: CaseName | null;
    readonly beta: number;
    readonly temperature: number;
    readonly top_k: number;
    readonly full?: boolean;
    readonly loss: number;
    readonly entropy: number;
  }[];
}

const TOLERANCE = 1e-5;
const { rows, prompt, cases } = readJson(`${VECTORS}distill/expected.json`) as Expected;
const gradients = readTensors(`${VECTORS}distill/expected.safetensors`);
const device = await cpuDevice();
afterAll(() => device.dispose());

const modelOf = (name: CaseName) => {
  const reference = readCase(name);
  return { reference, model: { device, config: reference.config, weights: uploadTensors(device, reference.weights) } };
};

/** A row whose teacher reads the prompt before it. */
function taught(sample: Sample): Sample {
  const ids = Int32Array.of(...prompt, ...sample.ids);
  const supervised = new Uint8Array(ids.length);
  sample.supervised.forEach((mark, i) => {
    if (i > 0 && mark) supervised[prompt.length + i] = MARKS.target;
  });
  return { ...sample, taughtBy: { index: sample.index, ids, supervised } };
}

const settings = (beta: number) =>
  beta === 0
    ? { divergence: "forward" as const }
    : beta === 1
      ? { divergence: "reverse" as const }
      : { divergence: "jsd" as const, beta };

describe.each(cases.map((one, i) => ({ ...one, i })))(
  "$model, teacher $teacher, beta $beta, temperature $temperature, top_k $top_k",
  ({ model: name, teacher: other, beta, temperature, top_k: k, full = false, i, ...expected }) => {
    const { reference, model } = modelOf(name);
    const adapter = readAdapterOf(reference, "all");
    const samples = rows.map((row) => (other ? reference.rows[row]! : taught(reference.rows[row]!)));
    const objective = createObjective({ name: "distill", ...settings(beta), temperature, ...(k ? { topK: k } : {}) });

    const teacherFor = async () => {
      const theirs = other ? modelOf(other).model : model;
      if (!k) return other ? new StreamTeacher(theirs, { other: true }) : undefined;
      const vocab = Math.min(theirs.config.vocabSize, model.config.vocabSize);
      const scorer = new Scorer(theirs);
      const found = new Map<Sample, TopTokens>();
      for (const sample of samples) {
        const tops: ReturnType<typeof topTokens>[] = [];
        await scorer.logits(readByTeacher(sample), (_, logits) => {
          tops.push(topTokens(logits, { vocab, k, temperature }));
        });
        const ids = Int32Array.from(tops.flatMap((top) => top.ids));
        found.set(sample, { ids, logps: Float32Array.from(tops.flatMap((top) => top.logps)) });
      }
      await scorer.dispose();
      return new TopTeacher(found, k);
    };

    const open = async (more: object = {}) => {
      const teacher = await teacherFor();
      return new BlockTrainer(full ? { ...model, weights: new Map() } : model, {
        trainables: full ? { kind: "full" } : { kind: "lora", lora: adapter.lora },
        initial: full ? reference.weights : adapter.tensors,
        optimizer: { betas: [0.9, 0.99], eps: 1e-6, weightDecay: 0 },
        objective,
        ...(teacher ? { teacher } : {}),
        seed: 1,
        ...more,
      });
    };

    it.each([
      { way: "one micro-batch", batches: [samples] },
      { way: "each alone", batches: samples.map((sample) => [sample]) },
      { way: "in another order, checkpointing", batches: [samples.toReversed()], more: { checkpointing: true } },
    ])("loss, entropy and every gradient equal TRL's on whole logits, $way", async ({ batches, more }) => {
      const trainer = await open(more);
      const { loss, gradients: found } = await trainer.gradientsOf(batches);
      expect(Math.abs(loss / expected.loss - 1)).toBeLessThan(TOLERANCE);
      const wanted = expectedUnder({ ...reference, expected: gradients }, `${i}.`);
      expect(wanted.size).toBeGreaterThan(9);
      const ours = new Map([...wanted.keys()].map((key) => [key, found.get(key)!.data as Float32Array]));
      const worst = worstError(ours, wanted);
      expect(worst.error, worst.name).toBeLessThan(2 * TOLERANCE);
      const validation = await trainer.validate(batches);
      expect(Math.abs(validation.loss / expected.loss - 1)).toBeLessThan(TOLERANCE);
      const { metrics } = await trainer.step(batches, { lr: 1e-3, maxGradNorm: 0 });
      for (const { entropy } of [validation.metrics, metrics])
        expect(Math.abs(entropy! / expected.entropy - 1)).toBeLessThan(TOLERANCE);
      await trainer.dispose();
    });
  },
);
