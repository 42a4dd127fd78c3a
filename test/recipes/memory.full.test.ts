import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { configFromHf } from "../../src/formats/hf/config.js";
import { hostTensor, writeWeights } from "../../src/formats/safetensors-writer.js";
import { weightShapes } from "../../src/models/index.js";
import { nodeFiles } from "../../src/node/files.js";
import { f32, sizeOf } from "../../src/tensor/index.js";
import { firstRows } from "../tiny-run.js";

// Peaks of whole processes, on a model of 120 MB (fp32) made here: small enough to be quick, larger than what is measured.
const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const config = {
  ...JSON.parse(readFileSync(join(ROOT, "models/tiny/config.json"), "utf8")),
  hidden_size: 512,
  intermediate_size: 1408,
  num_hidden_layers: 4,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  head_dim: 64,
  vocab_size: 32000,
};
const shapes = weightShapes(configFromHf(config, "config.json"));
const bytes = [...shapes.values()].map((shape) => 4 * sizeOf(shape));
const [weights, largest] = [bytes.reduce((a, b) => a + b), Math.max(...bytes)];

let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-memory-"));
  const model = join(folder, "model");
  mkdirSync(model);
  for (const name of ["tokenizer.json", "tokenizer_config.json", "generation_config.json"]) {
    cpSync(join(ROOT, "models/tiny", name), join(model, name));
  }
  writeFileSync(join(model, "config.json"), JSON.stringify(config));
  const tensors = [...shapes].map(([name, shape]) =>
    hostTensor(name, f32(shape, new Float32Array(sizeOf(shape)).fill(0.01))),
  );
  await writeWeights(nodeFiles, model, tensors);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const peakOf = (program: string): number => printedBy(program).at(-1)!;

/** What a program prints, a number a line, and the peak of its process. */
function printedBy(program: string): number[] {
  const script = `import { loadModel, loraFinetune, plan } from ${JSON.stringify(join(ROOT, "dist/node/index.js"))};
    ${program}
    console.log(process.resourceUsage().maxRSS * 1024);`;
  const run = spawnSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" });
  expect(run.stderr).toBe("");
  return run.stdout.trim().split("\n").map(Number);
}

it("loading streams: the peak is at most the weights, the largest tensor and 200 MB", () => {
  const model = JSON.stringify(join(folder, "model"));
  const peak = peakOf(`const model = await loadModel(${model}, { threads: 1 });
    const { buffers } = await model.resident.device.memory();
    if (buffers !== ${weights}) throw new Error("buffers hold " + buffers + " bytes, the weights are ${weights}");
    await model.dispose();`);
  expect(peak).toBeLessThan(weights + largest + 200e6);
});

it("a full fine-tune takes what its plan says: weights, gradients, moments, and what a checkpoint is written from", () => {
  const options = {
    base: join(folder, "model"),
    outputDir: join(folder, "run"),
    data: { train: firstRows(join(folder, "rows.jsonl"), 4), maxSeqLen: 32 },
    fullFinetune: true,
    maxSteps: 2,
    saveEvery: 1,
    batchSize: 2,
    threads: 1,
  };
  const [foreseen, peak] = printedBy(`const options = ${JSON.stringify(options)};
    console.log((await plan(options)).peakBytes);
    await loraFinetune(options).result();`);
  expect(foreseen).toBeGreaterThan(10 * weights);
  expect(peak! / foreseen!).toBeGreaterThan(0.75);
  expect(peak! / foreseen!).toBeLessThan(1.05);
});
