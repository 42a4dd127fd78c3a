import { afterAll, expect, it } from "vitest";
import { readAdapter } from "../../src/formats/peft/adapter.js";
import { nodeFiles } from "../../src/node/files.js";
import { uploadTensors, type View } from "../../src/runtime/index.js";
import type { HostTensor } from "../../src/tensor/index.js";
import { BlockTrainer } from "../../src/training/block-trainer.js";
import type { OptimizerName } from "../../src/training/optimizers/index.js";
import { encodeStored } from "../../src/weights/base-precision.js";
import { encoded } from "../../src/weights/load-model.js";
import { cpuDevice } from "./evaluate.js";
import {
  type ReferenceCase,
  readCase,
  readJson,
  readTensors,
  relativeError,
  samplesOf,
  type Training,
  VECTORS,
} from "./vectors.js";

const device = await cpuDevice();
afterAll(() => device.dispose());
const expected = readTensors(`${VECTORS}steps/expected.safetensors`);
type Steps = Training & { readonly loraplus_lr_ratio: number | null };
const trainings = readJson(`${VECTORS}steps/expected.json`) as Record<string, Steps>;

/** What is trained: an adapter of that folder, or all weights of the base. */
type Row = Parameters<typeof samplesOf>[0][number];
type What = "llama3/all" | "dora/all" | "steps/patterned" | "full";

const CASES: readonly [key: string, OptimizerName, base: "llama3" | "bias", What][] = [
  ["loraplus", "adamw", "llama3", "llama3/all"],
  ["loraplus dora", "adamw", "bias", "dora/all"],
  ["adafactor", "adafactor", "llama3", "llama3/all"],
  ["adafactor full", "adafactor", "llama3", "full"],
  ["dora nf4", "adamw", "bias", "dora/all"],
  ["dora patterns", "adamw", "bias", "steps/patterned"],
];

/** The base on the device, its linear layers as nf4 where the key says so; nothing where all of it is trained. */
function frozen({ weights }: ReferenceCase, key: string, what: What): Map<string, View> {
  if (what === "full") return new Map();
  if (!key.endsWith("nf4")) return uploadTensors(device, weights);
  const linear = ([name]: [string, HostTensor]) => name.endsWith("_proj.weight");
  const views = uploadTensors(device, new Map([...weights].filter((entry) => !linear(entry))));
  for (const [name, { shape, data }] of [...weights].filter(linear)) {
    const view = encoded(device, "nf4", shape);
    device.upload(view, encodeStored(name, "nf4", data as Float32Array));
    views.set(name, view);
  }
  return views;
}

async function learning(base: ReferenceCase, what: What) {
  if (what === "full") return { trainables: { kind: "full" }, initial: base.weights } as const;
  const { config, tensors } = await readAdapter(nodeFiles, `${VECTORS}${what}`, base.config);
  return { trainables: { kind: "lora", lora: config }, initial: tensors } as const;
}

it.each(CASES)("%s: ten steps as PEFT, transformers and bitsandbytes take them", async (key, name, baseName, what) => {
  const base = readCase(baseName);
  const { betas, eps, weight_decay: weightDecay, loraplus_lr_ratio: loraplusLrRatio, ...steps } = trainings[key]!;
  const trainer = new BlockTrainer(
    { device, config: base.config, weights: frozen(base, key, what) },
    { ...(await learning(base, what)), optimizer: { name, betas, eps, weightDecay, loraplusLrRatio }, seed: 1 },
  );
  const { rows } = readJson(`${VECTORS}${baseName === "bias" ? "dora" : baseName}/expected.json`) as { rows: Row[] };
  const samples = samplesOf(rows);
  for (const [i, step] of steps.micro_batches.entries()) {
    const batches = step.map((micro) => micro.map((row) => samples[row]!));
    const { loss, gradNorm } = await trainer.step(batches, { lr: steps.lr[i]!, maxGradNorm: steps.max_grad_norm });
    expect(Math.abs(loss / steps.losses[i]! - 1), `loss of step ${i}`).toBeLessThan(5e-5);
    expect(Math.abs(gradNorm / steps.grad_norms[i]! - 1), `norm of step ${i}`).toBeLessThan(2e-4);
  }
  const { parameters } = await trainer.state();
  const wanted = [...expected].filter(([path]) => path.startsWith(`${key}.trained.`));
  expect(wanted.length).toBeGreaterThan(9);
  for (const [path, { data }] of wanted) {
    const found = parameters.get(path.slice(`${key}.trained.`.length));
    expect(relativeError(found?.data as Float32Array, data as Float32Array), path).toBeLessThan(2e-4);
  }
  await trainer.dispose();
});
