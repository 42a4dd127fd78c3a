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
import { baseMemory } from "../../src/weights/base-precision.js";
import { openModel } from "../../src/weights/model-folder.js";
import { TINY as BASE, TINY_ROWS as ROWS } from "../tiny-run.js";

// Peaks of whole processes.
const ROOT = fileURLToPath(new URL("../../", import.meta.url));

let folder: string;
const at = (name: string) => join(folder, name);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-offload-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it("a base that stays on the disk needs memory for blocks, not for the base: a third of it is enough beside the program itself", async () => {
  const config = {
    ...JSON.parse(readFileSync(join(BASE, "config.json"), "utf8")),
    hidden_size: 512,
    intermediate_size: 1408,
    num_hidden_layers: 24,
    num_attention_heads: 8,
    num_key_value_heads: 4,
    head_dim: 64,
  };
  const shapes = weightShapes(configFromHf(config, "config.json"));
  const values = (shape: readonly number[]) => f32(shape, new Float32Array(sizeOf(shape)).fill(0.01));
  mkdirSync(at("large"));
  for (const name of ["tokenizer.json", "tokenizer_config.json", "generation_config.json"])
    cpSync(join(BASE, name), join(at("large"), name));
  writeFileSync(join(at("large"), "config.json"), JSON.stringify(config));
  const tensors = [...shapes].map(([name, shape]) => hostTensor(name, values(shape)));
  await writeWeights(nodeFiles, at("large"), tensors);
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
