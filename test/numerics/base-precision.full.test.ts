import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Sample } from "../../src/data/sample.js";
import { exportGguf } from "../../src/export/gguf.js";
import { SEPARATE, weightShapes } from "../../src/models/index.js";
import { startEngine } from "../../src/node/engine.js";
import { nodeFiles } from "../../src/node/files.js";
import { type Device, storedBytes, tensor, type View } from "../../src/runtime/index.js";
import { CODECS, f32, type HostTensor, random, sizeOf } from "../../src/tensor/index.js";
import { BlockTrainer } from "../../src/training/block-trainer.js";
import { initialAdapter } from "../../src/training/init.js";
import { BASE_PRECISIONS, baseMemory, heldAs, storageOf } from "../../src/weights/base-precision.js";
import { type LoadWeightsOptions, loadWeights, type ResidentModel } from "../../src/weights/load-model.js";
import { type OpenModel, openModel } from "../../src/weights/model-folder.js";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const lora = {
  r: 4,
  alpha: 8,
  dropout: 0,
  useRslora: false,
  init: "gaussian" as const,
  targetModules: SEPARATE,
};

let device: Device;
let folder: string;
const models = new Map<string, OpenModel>();
beforeAll(async () => {
  device = await startEngine({ threads: 2 });
  folder = mkdtempSync(join(tmpdir(), "lowrank-precision-"));
  const tiny = await openModel(nodeFiles, join(ROOT, "models/tiny"));
  models.set("folder", tiny);
  for (const type of ["q4_0", "q4_1", "q8_0", "bf16"] as const) {
    const path = join(folder, `${type}.gguf`);
    await exportGguf(nodeFiles, tiny, undefined, path, { type, name: "tiny" });
    models.set(type, await openModel(nodeFiles, path));
  }
});
afterAll(async () => {
  await device.dispose();
  for (const model of models.values()) await model.close();
  rmSync(folder, { recursive: true, force: true });
});

const rows = [37, 12, 50].map((length, index): Sample => {
  const ids = Int32Array.from({ length }, (_, i) => (31 * i + 7 * index) % 512);
  return { index, ids, supervised: new Uint8Array(length).fill(1, 3) };
});

/** An adapter whose B is not zero: with zero, half of a gradient's rules could be wrong unseen. */
async function adapter(model: OpenModel): Promise<Map<string, HostTensor>> {
  const rng = random(1, "B");
  return new Map(
    [...(await initialAdapter(model.config, lora, 1)).initial].map(([name, { shape, data }]) => [
      name,
      f32(
        shape,
        (data as Float32Array).map((x) => (name.includes("lora_B") ? 0.05 * rng.normal() : x)),
      ),
    ]),
  );
}

/** Loss, every gradient, the loss without dropout, and the parameters after a step. */
async function trained(model: ResidentModel, open: OpenModel, checkpointing: boolean) {
  const trainer = new BlockTrainer(model, {
    trainables: { kind: "lora", lora },
    initial: await adapter(open),
    optimizer: { betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 },
    checkpointing,
    seed: 0,
  });
  const { loss, gradients } = await trainer.gradientsOf([rows, rows.slice(1)]);
  const { lossSum } = await trainer.evaluate(rows);
  await trainer.step([rows], { lr: 1e-3, maxGradNorm: 1 });
  const { parameters } = await trainer.state();
  await trainer.dispose();
  return { loss, lossSum, gradients, parameters };
}

/** The same model with every weight decoded, as fp32. */
async function decoded({ config, weights }: ResidentModel): Promise<ResidentModel> {
  const dense = new Map<string, View>();
  for (const [name, view] of weights) {
    const made = tensor(device, "f32", view.shape);
    device.upload(made, await device.download(view));
    dense.set(name, made);
  }
  return { device, config, weights: dense };
}

const free = ({ weights }: ResidentModel) => {
  for (const { buffer } of weights.values()) device.free(buffer);
};

const WAYS: readonly [string, string, LoadWeightsOptions][] = [
  ...BASE_PRECISIONS.map((basePrecision) => [basePrecision, "folder", { basePrecision }] as [string, string, object]),
  ...["q4_0", "q4_1", "q8_0", "bf16"].map(
    (type) => [`native, ${type}`, type, { basePrecision: "native" }] as [string, string, LoadWeightsOptions],
  ),
  ["nf4 of a GGUF", "q8_0", { basePrecision: "nf4" }],
  ["nf4, its scales quantised", "folder", { basePrecision: "nf4", bnb4bitUseDoubleQuant: true }],
  ["disk, a folder", "folder", { baseOffload: "disk" }],
  ["disk, q4_1", "q4_1", { baseOffload: "disk" }],
];

describe.each(WAYS)("base held as %s (%s)", (_, name, options) => {
  it("every gradient and a step equal those on fp32 weights of the same values, with and without checkpointing", async () => {
    const open = models.get(name)!;
    const held = await loadWeights(device, open, options);
    const dense = await decoded(held);
    for (const checkpointing of [false, true]) {
      const expected = await trained(dense, open, checkpointing);
      const actual = await trained(held, open, checkpointing);
      expect(Math.abs(actual.loss / expected.loss - 1)).toBeLessThan(1e-6);
      expect(Math.abs(actual.lossSum / expected.lossSum - 1)).toBeLessThan(1e-6);
      for (const part of ["gradients", "parameters"] as const) {
        expect(actual[part].size).toBe(2 * lora.targetModules.length * open.config.numHiddenLayers);
        for (const [key, tensor] of expected[part]) expectEqual(actual[part].get(key)!, tensor, `${part} ${key}`);
      }
    }
    for (const model of [held, dense]) free(model);
  });

  it("the weights are the file's, as the precision rounds them", async () => {
    const open = models.get(name)!;
    const held = await loadWeights(device, open, options);
    for (const [key, view] of held.weights) {
      const [values, file] = [(await device.download(view)) as Float32Array, await open.tensors.read(key)];
      const exact = options.baseOffload || options.basePrecision === "native" || options.basePrecision === "f32";
      const bound =
        exact || view.shape.length < 2 ? 0 : { f16: 1e-3, int8: 0.01, nf4: 0.12 }[options.basePrecision as "nf4"];
      let [error, size] = [0, 0];
      file.forEach((x, i) => {
        error += (values[i]! - x) ** 2;
        size += x * x;
      });
      expect(Math.sqrt(error / size), key).toBeLessThanOrEqual(bound);
    }
    free(held);
  });
});

/** Whole tensors: the largest difference against the largest value. */
function expectEqual(actual: HostTensor, expected: HostTensor, name: string): void {
  const [a, b] = [actual.data as Float32Array, expected.data as Float32Array];
  const most = b.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
  expect(most, name).toBeGreaterThan(0);
  expect(b.reduce((m, x, i) => Math.max(m, Math.abs(x - a[i]!)), 0) / most, name).toBeLessThanOrEqual(1e-5);
}

describe("memory", () => {
  // nf4_dq: 33 bytes for 64 weights, and 8 for each group, of which small matrices have a short one
  const perWeight = { f32: 4, f16: 2, int8: 1.0625, nf4: 0.5625, native: 2, nf4_dq: 33 / 64 };

  it.each([...BASE_PRECISIONS, "nf4_dq" as const])(
    "%s: linear layers take what they should, and the forecast knows",
    async (precision) => {
      const open = models.get("folder")!;
      const before = (await device.memory()).buffers;
      const bnb4bitUseDoubleQuant = precision === "nf4_dq";
      const basePrecision = precision === "nf4_dq" ? "nf4" : precision;
      const held = await loadWeights(device, open, { basePrecision, bnb4bitUseDoubleQuant });
      const taken = (await device.memory()).buffers - before;
      const linear = [...held.weights].filter(([name]) => name.includes("_proj."));
      const bytes = linear.reduce((sum, [, view]) => sum + storedBytes(view), 0);
      const weights = linear.reduce((sum, [, { shape }]) => sum + sizeOf(shape), 0);
      const groups = linear.reduce((sum, [, { shape }]) => sum + Math.ceil(sizeOf(shape) / 16384), 0);
      expect((bytes - (bnb4bitUseDoubleQuant ? 8 * groups : 0)) / weights).toBe(perWeight[precision]);
      const stored = (name: string) => open.tensors.tensors.get(name)!.stored;
      const as = heldAs(basePrecision, "f32", bnb4bitUseDoubleQuant);
      expect(baseMemory(open.config, as, stored).weights).toBe(taken);
      free(held);
    },
  );

  it("rows that are no whole number of blocks become f16; what is native must be a type with values", () => {
    expect(storageOf("int8", "model.layers.0.mlp.up_proj.weight", [64, 48], "f32")).toBe("f16");
    expect(storageOf("nf4", "model.layers.0.mlp.up_proj.weight", [64, 48], "f32")).toBe("nf4");
    expect(storageOf("nf4", "model.layers.0.mlp.up_proj.weight", [3, 48], "f32")).toBe("f16");
    expect(storageOf("nf4", "lm_head.weight", [64, 64], "f32")).toBe("q8_0");
    expect(storageOf("nf4_dq", "model.layers.0.mlp.up_proj.weight", [64, 48], "f32")).toBe("nf4_dq");
    expect(() => heldAs("int8", "f32", true)).toThrow(
      "bnb_4bit_use_double_quant goes with base_precision nf4, not int8",
    );
    expect(storageOf("nf4", "model.norm.weight", [64], "f32")).toBe("f32");
    expect(() => storageOf("native", "lm_head.weight", [64, 64], "f8_e4m3")).toThrow("has no fp32 values");
    for (const [name, shape] of weightShapes(models.get("folder")!.config)) {
      for (const precision of BASE_PRECISIONS) {
        const { block } = CODECS[storageOf(precision, name, shape, "bf16")];
        expect(sizeOf(shape) % block).toBe(0);
      }
    }
  });
});
