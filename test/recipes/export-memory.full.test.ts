import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { configFromHf } from "../../src/formats/hf/config.js";
import { adapterShapes, writeAdapter } from "../../src/formats/peft/adapter.js";
import { narrowed, writeWeights } from "../../src/formats/safetensors-writer.js";
import { weightShapes } from "../../src/models/index.js";
import { nodeFiles } from "../../src/node/files.js";
import { f32, random, sizeOf } from "../../src/tensor/index.js";

// Peaks of whole processes on a model of 600 MB in fp32, which is more than an export may take with its gates on.
const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const json = {
  ...JSON.parse(readFileSync(join(ROOT, "models/tiny/config.json"), "utf8")),
  hidden_size: 512,
  intermediate_size: 1408,
  num_hidden_layers: 52,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  head_dim: 64,
  vocab_size: 8192,
};
const config = configFromHf(json, "config.json");
const shapes = weightShapes(config);
const bytes = [...shapes.values()].map((shape) => 4 * sizeOf(shape));
const [weights, largest] = [bytes.reduce((a, b) => a + b), Math.max(...bytes)];

let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-export-memory-"));
  const model = join(folder, "model");
  mkdirSync(model);
  for (const name of ["tokenizer.json", "tokenizer_config.json", "generation_config.json"])
    cpSync(join(ROOT, "models/tiny", name), join(model, name));
  writeFileSync(join(model, "config.json"), JSON.stringify(json));
  const noise = random(1, "weights");
  const values = Float32Array.from({ length: Math.max(...bytes) / 4 }, () => 0.02 * noise.normal());
  const tensors = [...shapes].map(([name, shape]) => {
    const own = name.endsWith("norm.weight")
      ? new Float32Array(sizeOf(shape)).fill(1)
      : values.subarray(0, sizeOf(shape));
    return { name, shape, dtype: "bf16", chunks: () => narrowed(name, own, "bf16") };
  });
  await writeWeights(nodeFiles, model, tensors);
  const lora = {
    r: 4,
    alpha: 8,
    dropout: 0,
    useRslora: false,
    init: "gaussian",
    targetModules: ["q_proj", "up_proj"],
  } as const;
  const factors = new Map(
    [...adapterShapes(lora, config)].map(
      ([name, shape]) => [name, f32(shape, values.slice(0, sizeOf(shape)))] as const,
    ),
  );
  await writeAdapter(nodeFiles, join(folder, "adapter"), { config: lora, tensors: factors, base: { name: model } });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it.each(["gguf", "onnx"])(
  "--to %s, gates and all: the peak is at most three times the largest tensor and 300 MB",
  (to) => {
    const most = 3 * largest + 300e6;
    expect(weights).toBeGreaterThan(1.5 * most);
    const options = { adapter: join(folder, "adapter"), to, output: join(folder, to), quantize: "f16", threads: 1 };
    const script = `import { nodePlatform } from ${JSON.stringify(join(ROOT, "dist/node/platform.js"))};
    import { exportAdapter } from ${JSON.stringify(join(ROOT, "dist/recipes/export.js"))};
    const platform = nodePlatform();
    const { gates } = await exportAdapter(${JSON.stringify(options)}, platform);
    if (!gates.some(({ found }) => found.includes("worst difference"))) throw new Error("it was not run");
    await platform.dispose();
    console.log(process.resourceUsage().maxRSS * 1024);`;
    const run = spawnSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" });
    expect(run.stderr).toBe("");
    expect(Number(run.stdout.trim())).toBeLessThan(most);
  },
);
