import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import type { Sample } from "../../src/data/sample.js";
import { type LinearName, linearNames, type ModelConfig, weightShapes } from "../../src/models/index.js";
import { startEngine } from "../../src/node/engine.js";
import { findOpenvino } from "../../src/node/openvino-library.js";
import { nodePlatform } from "../../src/node/platform.js";
import { randomWeights } from "../../src/recipes/bench.js";
import { loraFinetune } from "../../src/recipes/lora-finetune.js";
import { plan } from "../../src/recipes/plan.js";
import type { Device } from "../../src/runtime/index.js";
import { f32, sizeOf, UserError } from "../../src/tensor/index.js";
import { BlockTrainer } from "../../src/training/block-trainer.js";
import { type ForecastOptions, forecast } from "../../src/training/forecast.js";
import { initialAdapter } from "../../src/training/init.js";
import { type BasePrecision, baseMemory, heldAs, storageOf } from "../../src/weights/base-precision.js";
import { runCli } from "../run-cli.js";
import { FAMILY_CASES, resized } from "./family-folder.js";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const TINY = { base: join(ROOT, "models/tiny"), data: { train: join(ROOT, "models/tiny/data/train.jsonl") } };
/** As large as every model here. */
const SIZES = {
  vocabSize: 2000,
  hiddenSize: 192,
  intermediateSize: 512,
  numHiddenLayers: 6,
  numAttentionHeads: 6,
  numKeyValueHeads: 2,
  headDim: 32,
  maxPositionEmbeddings: 2048,
};
const model: ModelConfig = {
  ...SIZES,
  rmsNormEps: 1e-5,
  ropeTheta: 10000,
  tieWordEmbeddings: true,
  attentionBias: false,
  mlpBias: false,
};
const ALL: LinearName[] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

describe("the forecast is within 15% of the buffers that then exist", () => {
  it.each([
    ["one long row", [256], false, ["q_proj", "v_proj"], 1, undefined, "f32"],
    ["one long row, checkpointing", [256], true, ["q_proj", "v_proj"], 1, undefined, "f32"],
    ["ragged rows, all linears", [40, 100, 77, 13], false, ALL, 1, undefined, "f32"],
    ["accumulation", [120, 64], false, ALL, 2, undefined, "f32"],
    ["upper layers only", [200], false, ["q_proj", "v_proj"], 1, [4, 5], "f32"],
    ["base as f16", [256], true, ["q_proj", "v_proj"], 1, undefined, "f16"],
    ["base as int8", [40, 100], true, ["q_proj", "v_proj"], 1, undefined, "int8"],
    ["base as nf4", [128], true, ["q_proj", "v_proj"], 1, undefined, "nf4"],
    ["base as nf4, its scales quantised", [128], true, ["q_proj", "v_proj"], 1, undefined, "nf4_dq"],
  ] as const)("%s", (_, lengths, checkpointing, targets, accumulation, layers, held) =>
    check(lengths, checkpointing, targets, accumulation, layers, held, "f32"),
  );

  it.each(FAMILY_CASES)("a model as %s, ragged rows, all linears", async (name) => {
    const config = resized(name, SIZES);
    const targets = linearNames(config);
    await check([40, 300, 77, 13], true, targets, 1, undefined, "f32", "f32", config);
    await check([200], false, targets, 1, undefined, "int8", "f32", config);
  });

  it.skipIf(!findOpenvino()).each([
    ["one long row", [256], false, ["q_proj", "v_proj"]],
    ["ragged rows, all linears, checkpointing", [40, 100, 77, 13], true, ALL],
  ] as const)("precision: bf16, %s", (_, lengths, checkpointing, targets) =>
    check(lengths, checkpointing, targets, 1, undefined, "f32", "bf16"),
  );

  it.skipIf(!findOpenvino()).each(FAMILY_CASES)("precision: bf16, a model as %s", async (name) => {
    const config = resized(name, SIZES);
    await check([40, 300, 77, 13], true, linearNames(config), 1, undefined, "f32", "bf16", config);
  });

  it.each([
    ["adamw", 1, false],
    ["adamw", 2, true],
    ["adafactor", 1, true],
  ] as const)("full_finetune with %s, %i micro-batches a step", async (name, accumulation, checkpointing) => {
    const trainables = { kind: "full" } as const;
    const shapes = [...weightShapes(model)];
    const initial = new Map(
      shapes.map(([key, shape]) => [key, f32(shape, new Float32Array(sizeOf(shape)).fill(0.01))]),
    );
    const device = await startEngine({ threads: 1 });
    const optimizer = { name, betas: [0.9, 0.999] as const, eps: 1e-8, weightDecay: 0 };
    const trainer = new BlockTrainer(
      { device, config: model, weights: new Map() },
      { trainables, initial, optimizer, checkpointing, seed: 0 },
    );
    await holds(device, trainer, [128, 64], model, { trainables, checkpointing, accumulation, optimizer: name });
  });

  async function check(
    lengths: readonly number[],
    checkpointing: boolean,
    targets: readonly LinearName[],
    accumulation: number,
    layers: readonly number[] | undefined,
    asked: BasePrecision | "nf4_dq",
    precision: "f32" | "bf16",
    config = model,
  ): Promise<void> {
    const lora = {
      r: 8,
      alpha: 16,
      dropout: 0,
      useRslora: false,
      init: "gaussian" as const,
      targetModules: [...targets] as LinearName[],
      ...(layers ? { layersToTransform: [...layers] } : {}),
    };
    const trainables = { kind: "lora" as const, lora };
    const held = heldAs(asked === "nf4_dq" ? "nf4" : asked, precision, asked === "nf4_dq");
    const storage = (name: string, shape: readonly number[]) => storageOf(held, name, shape, "f32");
    const base = baseMemory(config, held, () => "f32");
    const device = await startEngine({ threads: 1, precision });
    const trainer = new BlockTrainer(
      { device, config, weights: randomWeights(device, config, 0, storage) },
      {
        trainables,
        ...(await initialAdapter(config, lora, 0)),
        optimizer: { betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0 },
        checkpointing,
        seed: 0,
      },
    );
    await holds(device, trainer, lengths, config, { trainables, checkpointing, accumulation, base, precision });
  }

  /** Takes a step and disposes of the device. */
  async function holds(
    device: Device,
    trainer: BlockTrainer,
    lengths: readonly number[],
    config: ModelConfig,
    options: Omit<ForecastOptions, "tokens" | "longest">,
  ): Promise<void> {
    const batch = lengths.map((length, index): Sample => {
      const ids = Int32Array.from({ length }, (_unused, i) => (7 * i + index) % config.vocabSize);
      return { index, ids, supervised: new Uint8Array(length).fill(1, 1) };
    });
    const microBatches = Array.from({ length: options.accumulation }, () => batch);
    await trainer.step(microBatches, { lr: 1e-3, maxGradNorm: 1 });
    const { buffers } = await device.memory();
    const tokens = lengths.reduce((a, b) => a + b, 0);
    const found = forecast(config, { ...options, tokens, longest: Math.max(...lengths) });
    const foreseen = found.weights + found.decoded + found.optimizer + found.activations;
    expect(buffers / foreseen).toBeGreaterThan(0.85);
    expect(buffers / foreseen).toBeLessThan(1.15);
    await device.dispose();
  }
});

describe("plan", () => {
  it("counts, adds up and times a run without starting it", async () => {
    const platform = nodePlatform();
    const found = await plan({ ...TINY, maxSteps: 7 }, platform);
    expect(found).toMatchObject({ steps: 7, fits: true, trainableParameters: 10752 });
    expect(found.peakBytes).toBe(Object.values(found.memory).reduce((a: number, b: number) => a + b, 0));
    expect(found.secondsInAll! / found.secondsPerStep!).toBeCloseTo(7, 6);
    await platform.dispose();
  });

  it("models a step of several ranks as the command line asks: --jitter in percent, of several ranks alone", async () => {
    const planned = async (...flags: string[]) => {
      const words = ["plan", "--base", TINY.base, "--data", TINY.data.train, "--json", ...flags];
      const { code, out, err } = await runCli(...words);
      return { code, err, asked: code === 0 ? JSON.parse(out).scaling.asked : undefined };
    };
    const stragglers = async (jitter: string) => {
      const { asked } = await planned("--ranks", "2", "--jitter", jitter);
      return asked.stragglers / (asked.compute + asked.ragged);
    };
    expect(await stragglers("50")).toBeCloseTo(0.5 * Math.sqrt(2 * Math.log(2)), 9);
    expect(await stragglers("0")).toBe(0);
    expect(await planned("--jitter", "9")).toMatchObject({
      code: 2,
      err: expect.stringContaining("say how many with --ranks"),
    });
    expect(await planned("--ranks", "2", "--jitter", "-1")).toMatchObject({ code: 2 });
    const platform = nodePlatform();
    await expect(plan(TINY, platform, { ranks: 2, jitter: Number.NaN })).rejects.toThrow(
      "jitter: expected a number from 0",
    );
    await platform.dispose();
  });

  it("knows double quantisation and what the cache takes on the disk; refuses them where they change nothing", async () => {
    const platform = nodePlatform();
    const [nf4, double] = [
      await plan({ ...TINY, maxSteps: 1, basePrecision: "nf4" }, platform),
      await plan(
        { ...TINY, maxSteps: 1, basePrecision: "nf4", bnb4bitUseDoubleQuant: true, baseCache: true },
        platform,
      ),
    ];
    expect(double.memory.weights).toBeLessThan(nf4.memory.weights);
    expect(nf4.baseCacheBytes).toBeUndefined();
    expect(double.baseCacheBytes).toBe(double.memory.weights);
    await expect(plan({ ...TINY, bnb4bitUseDoubleQuant: true }, platform)).rejects.toThrow(
      "goes with base_precision nf4",
    );
    await expect(plan({ ...TINY, baseCache: true }, platform)).rejects.toThrow("with base_precision f32 leave it out");
    await platform.dispose();
  });

  it("trap 23, out of memory half-way: a run that cannot fit is refused before it starts, with what would fit", async () => {
    const real = nodePlatform();
    const platform = { ...real, memory: () => ({ peak: 0, limit: 183e6 }) };
    expect((await plan(TINY, platform)).fits).toBe(false);
    const outputDir = mkdtempSync(join(tmpdir(), "lowrank-plan-"));
    const run = loraFinetune({ ...TINY, outputDir }, platform).result();
    await expect(run).rejects.toThrow(UserError);
    await expect(run).rejects.toThrow(/needs .* it was not started\. .*checkpointing: true/);
    rmSync(outputDir, { recursive: true });
    await real.dispose();
  });
});
