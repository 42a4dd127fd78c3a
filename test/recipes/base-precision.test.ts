import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { hostTensor, writeWeights } from "../../src/formats/safetensors-writer.js";
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
import { f32, type HostTensor } from "../../src/tensor/index.js";
import { TINY as BASE, firstRows, tinyRun } from "../tiny-run.js";

// Bases that are not held as fp32, through the package's functions.
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
    const rows = firstRows(at("rows.jsonl"), 96);
    const loaded = await Promise.all([
      loadModel(BASE, { threads: 1, basePrecision: "nf4" }),
      loadModel(dense, { threads: 1 }),
    ]);
    const results = await Promise.all(
      loaded.map(async (model) => {
        const adapter = await applyAdapter(model, at("nf4/adapter"));
        const answer = { messages: [{ role: "user", content: "Where does Ada live?" }] };
        const { tokenIds } = await generate(model, answer, { maxNewTokens: 16, adapter }).result();
        return { tokenIds, loss: (await evaluate(model, rows, { adapter })).loss };
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
    mkdirSync(at("dense"));
    for (const name of ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"])
      cpSync(join(BASE, name), join(at("dense"), name));
    await writeWeights(
      nodeFiles,
      at("dense"),
      tensors.map(([name, tensor]) => hostTensor(name, tensor)),
    );
    return at("dense");
  }
});

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
});
