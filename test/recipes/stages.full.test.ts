import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { nodePlatform } from "../../src/node/platform.js";
import type { Platform } from "../../src/platform/platform.js";
import type { TrainOptions } from "../../src/recipes/config-schema.js";
import { loraFinetune } from "../../src/recipes/lora-finetune.js";
import { plan } from "../../src/recipes/plan.js";
import { ranksInProcess } from "../numerics/in-process.js";
import { firstRows, tinyRun } from "../tiny-run.js";

const folder = mkdtempSync(join(tmpdir(), "lowrank-stages-"));
const platforms = [nodePlatform(), nodePlatform()];
afterAll(async () => {
  await Promise.all(platforms.map((platform) => platform.dispose()));
  rmSync(folder, { recursive: true });
});

const rows = firstRows(join(folder, "rows.jsonl"), 24);
const PIPELINE = { parallel: { pipeline: 2 } } as const;
const run = (name: string, more: Partial<TrainOptions> = {}) =>
  tinyRun(join(folder, name), {
    data: { train: rows, validation: 0.2, maxSeqLen: 128 },
    batchSize: 2,
    gradientAccumulationSteps: 3,
    maxSteps: 3,
    saveEvery: 2,
    evalEvery: 2,
    ...more,
  });

/** A run of one rank, or of two that hold the base together. */
async function train(options: TrainOptions, memory?: Platform["memory"]) {
  const ranks = options.parallel ? ranksInProcess(2) : [undefined];
  const results = ranks.map((communicator, i) =>
    loraFinetune(
      options,
      { ...platforms[i]!, ...(memory ? { memory } : {}) },
      communicator ? { communicator } : {},
    ).result(),
  );
  const [first] = await Promise.all(results);
  return first!;
}

/** The values of a run's adapter; the file's header says how long it is. */
function adapterOf(name: string): Float32Array {
  const file = readFileSync(join(folder, name, "adapter/adapter_model.safetensors"));
  return new Float32Array(new Uint8Array(file.subarray(8 + Number(file.readBigUInt64LE()))).buffer);
}

/** The largest difference of two runs' adapters, against the largest value. */
function worst(name: string, other: string): number {
  const [a, b] = [adapterOf(name), adapterOf(other)];
  expect(a.length).toBe(b.length);
  const most = (of: (x: number, i: number) => number) => a.reduce((max, x, i) => Math.max(max, of(x, i)), 0);
  return most((x, i) => Math.abs(x - b[i]!)) / most(Math.abs);
}

const metricsOf = (name: string) =>
  readFileSync(join(folder, name, "metrics.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { loss?: number; eval_loss?: number });

it("two stages make one rank's run: losses, validation, and and the whole adapter", async () => {
  const alone = await train(run("alone"));
  const staged = await train(run("staged", PIPELINE));
  expect(staged.step).toBe(3);
  const [expected, found] = [metricsOf("alone"), metricsOf("staged")];
  expect(found.length).toBe(expected.length);
  for (const [i, { loss, eval_loss: evalLoss }] of expected.entries()) {
    if (loss !== undefined) expect(Math.abs(found[i]!.loss! / loss - 1)).toBeLessThan(1e-6);
    if (evalLoss !== undefined) expect(Math.abs(found[i]!.eval_loss! / evalLoss - 1)).toBeLessThan(1e-6);
  }
  expect(Math.abs(staged.evalLoss! / alone.evalLoss! - 1)).toBeLessThan(1e-6);
  expect(worst("staged", "alone")).toBeLessThan(1e-5);
});

it("two ranks train, on what neither has memory for, a base that one is refused", async () => {
  const options = { basePrecision: "int8", checkpointing: true } as const;
  const { peakBytes: whole } = await plan(run("planned", options), platforms[0]!);
  const scaled = { ranks: 4, network: { bitsPerSecond: 1e9 } };
  const planned = await plan(run("planned", { ...options, ...PIPELINE }), platforms[0]!, scaled);
  expect(planned.scaling!.asked.ranks).toBe(4);
  expect(planned.scaling!.asked.exchange).toBeGreaterThan(0);
  const jittered = await plan(run("planned", { ...options, ...PIPELINE }), platforms[0]!, { ...scaled, jitter: 0.5 });
  const { stragglers, compute, ragged } = jittered.scaling!.asked;
  expect(stragglers / (compute + ragged)).toBeCloseTo(0.5 * Math.sqrt(2 * Math.log(4)), 9);
  expect(planned.scaling!.table.map(({ steps }) => steps.map(({ ranks }) => ranks)[8])).toEqual([2048, 2048, 2048]);
  expect(planned.stages!.map(({ first, end }) => end - first).reduce((a, b) => a + b)).toBe(3);
  expect(planned.bubble).toBeCloseTo(1 / 4, 12);
  expect(planned.peakBytes).toBeLessThan(whole);
  const memory = () => ({ peak: 0, limit: (planned.peakBytes + whole) / 2 });
  await expect(train(run("refused", options), memory)).rejects.toMatchObject({ code: "insufficient_memory" });
  const { adapter } = await train(run("fits", { ...options, ...PIPELINE }), memory);
  expect(adapter).toBe(join(folder, "fits/adapter"));
});

it("what cannot run in stages is refused by name", async () => {
  const refused = async (more: Partial<TrainOptions>, message: string, ranks = 2) => {
    const communicator = ranksInProcess(ranks)[0]!;
    await expect(async () => {
      await loraFinetune(run("never", { ...PIPELINE, ...more }), platforms[0]!, { communicator }).result();
    }).rejects.toThrow(message);
  };
  await refused(
    { objective: { name: "dpo" } },
    "dpo asks a whole model; sft, orpo, simpo, cpo can be trained in stages",
  );
  await refused({ evalSuite: rows }, "evalSuite: is answered by a whole model");
  await refused({ baseCache: true, basePrecision: "nf4" }, "baseCache: keeps a whole base");
  await refused({}, "2 stages need a multiple of 2 ranks, and there are 3", 3);
});
