import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { baseMemory } from "../../src/checkpoint/base-precision.js";
import { llamaConfigFromHf } from "../../src/checkpoint/hf-config.js";
import { openModel } from "../../src/checkpoint/model-folder.js";
import { hostTensor, writeWeights } from "../../src/checkpoint/safetensors-writer.js";
import { weightShapes } from "../../src/models/index.js";
import { nodeFiles } from "../../src/node/files.js";
import {
  applyAdapter,
  evaluate,
  generate,
  type LoadedModel,
  loadModel,
  loraFinetune,
  merge,
  mergeAdapter,
  type TrainOptions,
} from "../../src/node/index.js";
import { f32, type HostTensor, sizeOf } from "../../src/tensor/index.js";
import { TINY as BASE, TINY_ROWS as ROWS, tinyRun } from "../tiny-run.js";

// Bases that are not held as fp32, through the package's functions and in processes of their own.
const ROOT = fileURLToPath(new URL("../../", import.meta.url));

let folder: string;
const at = (name: string) => join(folder, name);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-base-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const options = (name: string, more: Partial<TrainOptions> = {}): TrainOptions =>
  tinyRun(at(name), { maxSteps: 12, ...more });

async function losses(run: ReturnType<typeof loraFinetune>): Promise<{ losses: number[]; notes: string[] }> {
  const found = { losses: [] as number[], notes: [] as string[] };
  for await (const event of run) {
    if (event.type === "step") found.losses.push(event.metrics.loss);
    if (event.type === "note") found.notes.push(event.message);
  }
  return found;
}

describe("a base held as nf4", () => {
  let plain: { losses: number[] };
  let held: { losses: number[] };
  beforeAll(async () => {
    plain = await losses(loraFinetune(options("plain")));
    held = await losses(loraFinetune(options("nf4", { basePrecision: "nf4" })));
  });

  it("trains as one in f32 does, on slightly other numbers", () => {
    expect(held.losses[0]).not.toBe(plain.losses[0]);
    const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
    expect(Math.abs(sum(held.losses) / sum(plain.losses) - 1)).toBeLessThan(0.1);
    expect(held.losses.at(-1)! / held.losses[0]!).toBeLessThan(0.9);
    expect(JSON.parse(readFileSync(at("nf4/manifest.json"), "utf8"))).toMatchObject({ base_precision: "nf4" });
  });

  it("evaluates and generates with the adapter to what an f32 model of the same values gives", async () => {
    const dense = await densified();
    const loaded = await Promise.all([
      loadModel(BASE, { threads: 1, basePrecision: "nf4" }),
      loadModel(dense, { threads: 1 }),
    ]);
    const results = await Promise.all(
      loaded.map(async (model) => {
        const adapter = await applyAdapter(model, at("nf4/adapter"));
        const answer = { messages: [{ role: "user", content: "Where does Ada live?" }] };
        const { tokenIds } = await generate(model, answer, { maxNewTokens: 16, adapter }).result();
        return { tokenIds, loss: (await evaluate(model, ROWS, { adapter })).loss };
      }),
    );
    expect(results[0]!.tokenIds).toEqual(results[1]!.tokenIds);
    expect(Math.abs(results[0]!.loss / results[1]!.loss - 1)).toBeLessThan(1e-5);
    for (const model of loaded) await model.dispose();
  });

  it("merges into the base's own weights, which the gate measures on them; into the held ones it cannot", async () => {
    const report = await merge(BASE, at("nf4/adapter"), at("merged"), { threads: 1 });
    expect(report.worstLogitDifference).toBeLessThan(0.1 * report.largestLogit);
    const model = await loadModel(BASE, { threads: 1, basePrecision: "nf4" });
    const adapter = await applyAdapter(model, at("nf4/adapter"));
    await expect(mergeAdapter(model, adapter)).rejects.toThrow(
      "held as nf4, which cannot hold an adapter's small changes",
    );
    await model.dispose();
  });

  it("is part of what a checkpoint belongs to", async () => {
    const run = loraFinetune(options("nf4", { maxSteps: 14 }), { resume: true }).result();
    await expect(run).rejects.toThrow(/base_precision/);
    const double = options("nf4", { maxSteps: 14, basePrecision: "nf4", bnb4bitUseDoubleQuant: true });
    await expect(loraFinetune(double, { resume: true }).result()).rejects.toThrow(/bnb_4bit_use_double_quant/);
    const resumed = await loraFinetune(options("nf4", { maxSteps: 14, basePrecision: "nf4" }), {
      resume: true,
    }).result();
    expect(resumed.step).toBe(14);
  });

  it("with its scales quantised too trains beside it, on other numbers still, and says so in the manifest", async () => {
    const double = options("double", { basePrecision: "nf4", bnb4bitUseDoubleQuant: true });
    const { losses: found } = await losses(loraFinetune(double));
    expect(found[0]).not.toBe(held.losses[0]);
    const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
    expect(Math.abs(sum(found) / sum(held.losses) - 1)).toBeLessThan(0.02);
    const manifest = JSON.parse(readFileSync(at("double/manifest.json"), "utf8"));
    expect(manifest).toMatchObject({ base_precision: "nf4", bnb_4bit_use_double_quant: true });
    const wrong = loraFinetune(options("wrong", { basePrecision: "int8", bnb4bitUseDoubleQuant: true })).result();
    await expect(wrong).rejects.toThrow("bnb_4bit_use_double_quant goes with base_precision nf4, not int8");
    const idle = loraFinetune(options("wrong", { baseCache: true })).result();
    await expect(idle).rejects.toThrow(
      "base_cache keeps a base as f16, int8, nf4; with base_precision f32 leave it out",
    );
  });

  it("full_finetune changes every weight: it refuses", async () => {
    const run = loraFinetune(options("full", { fullFinetune: true, basePrecision: "nf4" })).result();
    await expect(run).rejects.toThrow("leave out base_precision");
  });

  /** The tiny model as fp32 files that hold what nf4 decodes to. */
  async function densified(): Promise<string> {
    const model: LoadedModel = await loadModel(BASE, { threads: 1, basePrecision: "nf4" });
    const tensors: [string, HostTensor][] = [];
    for (const [name, view] of model.resident.weights)
      tensors.push([name, f32(view.shape, (await model.resident.device.download(view)) as Float32Array)]);
    await model.dispose();
    await writeFolder(at("dense"), JSON.parse(readFileSync(join(BASE, "config.json"), "utf8")), tensors);
    return at("dense");
  }
});

async function writeFolder(path: string, config: object, tensors: Iterable<[string, HostTensor]>): Promise<void> {
  mkdirSync(path);
  for (const name of ["tokenizer.json", "tokenizer_config.json", "generation_config.json"])
    cpSync(join(BASE, name), join(path, name));
  writeFileSync(join(path, "config.json"), JSON.stringify(config));
  await writeWeights(
    nodeFiles,
    path,
    [...tensors].map(([name, tensor]) => hostTensor(name, tensor)),
  );
}

describe("a base that stays on the disk", () => {
  it("trains to the very same numbers as in memory, and says what the disk cost", async () => {
    const memory = await losses(loraFinetune(options("memory", { maxSteps: 4, checkpointing: true })));
    const disk = await losses(loraFinetune(options("disk", { maxSteps: 4, checkpointing: true, baseOffload: "disk" })));
    expect(disk.losses).toEqual(memory.losses);
    expect(disk.notes.at(-1)).toMatch(/^\d+\.\d of \d+\.\d s were spent waiting for the disk: \d+\.\d\d times as long/);
  });

  it("is used as its file stores it: another precision is refused", async () => {
    const run = loraFinetune(options("refused", { baseOffload: "disk", basePrecision: "nf4" })).result();
    await expect(run).rejects.toThrow("base_precision can be f32 or native, not nf4");
  });

  it("needs memory for blocks, not for the base: a third of it is enough beside the program itself", async () => {
    const config = {
      ...JSON.parse(readFileSync(join(BASE, "config.json"), "utf8")),
      hidden_size: 512,
      intermediate_size: 1408,
      num_hidden_layers: 24,
      num_attention_heads: 8,
      num_key_value_heads: 4,
      head_dim: 64,
    };
    const shapes = weightShapes(llamaConfigFromHf(config, "config.json"));
    const values = (shape: readonly number[]) => f32(shape, new Float32Array(sizeOf(shape)).fill(0.01));
    await writeFolder(
      at("large"),
      config,
      [...shapes].map(([name, shape]) => [name, values(shape)]),
    );
    const open = await openModel(nodeFiles, at("large"));
    const { weights } = baseMemory(open.config, "f32", () => "f32");
    await open.close();
    const data = `data: { train: ${JSON.stringify(ROWS)}, maxSeqLen: 64 }, maxSteps: 1, batchSize: 2, threads: 2`;
    const train = (base: string, more: string) =>
      peakOf(
        `await loraFinetune({ base: ${JSON.stringify(base)}, outputDir: ${JSON.stringify(at("out"))} + Math.random(), ${data}, ${more} }).result();`,
      );
    const program = train(BASE, "checkpointing: true");
    const offloaded = train(at("large"), `checkpointing: true, baseOffload: "disk"`);
    expect(weights).toBeGreaterThan(250e6);
    expect(offloaded - program).toBeLessThan(weights / 3);
  });
});

/** Peak resident bytes of a process that runs this. */
function peakOf(program: string): number {
  const script = `import { loraFinetune } from ${JSON.stringify(join(ROOT, "dist/node/index.js"))};
    ${program}
    console.log(process.resourceUsage().maxRSS * 1024);`;
  const path = join(folder, "program.mjs");
  writeFileSync(path, script);
  const run = spawnSync(process.execPath, [path], { encoding: "utf8" });
  expect(run.stderr).toBe("");
  return Number(run.stdout.trim().split("\n").at(-1));
}
