import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Sample } from "../../src/data/sample.js";
import { exportGguf } from "../../src/export/gguf.js";
import { GGML_TYPES, readGguf } from "../../src/formats/gguf/reader.js";
import { linearNames } from "../../src/models/index.js";
import { startEngine } from "../../src/node/engine.js";
import { nodeFiles } from "../../src/node/files.js";
import type { Device } from "../../src/runtime/index.js";
import { CODECS } from "../../src/tensor/codecs/quants.js";
import { GGUF_WEIGHT_TYPES } from "../../src/tensor/codecs/quants-encode.js";
import { f16Bits, random, sizeOf } from "../../src/tensor/index.js";
import { BlockTrainer } from "../../src/training/block-trainer.js";
import { initialAdapter } from "../../src/training/init.js";
import { type LoadWeightsOptions, loadWeights } from "../../src/weights/load-model.js";
import { type OpenModel, openModel } from "../../src/weights/model-folder.js";
import { runnable } from "../numerics/runnable.js";
import { FAMILY_CASES, randomFolder, resized, writeTokenizer } from "./family-folder.js";

// Every family trained on a base of every precision and of every type that a GGUF is written in.
const folder = mkdtempSync(join(tmpdir(), "lowrank-families-held-"));
let device: Device;
beforeAll(async () => {
  device = await startEngine({ threads: 1 });
});
afterAll(async () => {
  await device.dispose();
  rmSync(folder, { recursive: true, force: true });
});

/** The most that rounding weights to a type moves the loss, as a share of it. */
const HELD = { f32: 0, f16: 1e-3, int8: 0.01, nf4: 0.05, nf4_dq: 0.05, native: 0 } as const;
const WRITTEN = { f32: 0, f16: 1e-3, bf16: 5e-3, q8_0: 0.01, q6_k: 0.02, q4_k: 0.05, q4_0: 0.08, q4_1: 0.05 } as const;

const rows = [37, 12, 50].map((length, index): Sample => {
  const ids = Int32Array.from({ length }, (_, i) => (31 * i + 7 * index) % 96);
  return { index, ids, supervised: new Uint8Array(length).fill(1, 3) };
});

/** The first step's loss and gradient's norm, and the loss after it. */
async function step(open: OpenModel, options: LoadWeightsOptions) {
  const model = await loadWeights(device, open, options);
  const targetModules = linearNames(open.config);
  const lora = { r: 4, alpha: 8, dropout: 0, useRslora: false, init: "gaussian", targetModules } as const;
  const trainer = new BlockTrainer(model, {
    trainables: { kind: "lora", lora },
    ...(await initialAdapter(open.config, lora, 1)),
    optimizer: { betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0 },
    seed: 0,
  });
  const { loss, gradNorm } = await trainer.step([rows], { lr: 1e-2, maxGradNorm: 0 });
  const { lossSum } = await trainer.evaluate(rows);
  const codec = [...model.weights].find(([name]) => name.includes("layers.1.mlp.down_proj"))![1].codec ?? "f32";
  await trainer.dispose();
  for (const { buffer } of model.weights.values()) device.free(buffer);
  return { loss, gradNorm, after: lossSum, codec };
}

/** Types that are read but not written, and the scales (f16, at these bytes of a block) with which any codes are weights of 0.05. */
const READ: Readonly<Record<string, readonly (readonly [at: number, scale: number])[]>> = {
  q5_0: [[0, 5.4e-3]],
  q5_1: [
    [0, 5.4e-3],
    [2, -0.084],
  ],
  q5_k: [
    [0, 1.7e-4],
    [2, 2.7e-3],
  ],
  iq4_nl: [[0, 7e-4]],
  iq4_xs: [[0, 4e-5]],
};

/** Makes the linear layers' tensors of a q8_0 file blocks of another, shorter type: random codes, with scales that suit. */
async function retype(path: string, type: string): Promise<void> {
  const bytes = readFileSync(path);
  const { tensors } = await nodeFiles.open(path).then(async (file) => {
    try {
      return await readGguf(file);
    } finally {
      await file.close();
    }
  });
  const { block, bytes: width } = CODECS[type as keyof typeof CODECS];
  const id = Number(Object.entries(GGML_TYPES).find(([, name]) => name === type)![0]);
  const rng = random(1, type);
  for (const { name, shape, offset, type: before } of tensors.values()) {
    if (before !== "q8_0" || !name.startsWith("blk.")) continue;
    // A tensor's line in the head: its name, how many dimensions, these, its type.
    const at = bytes.indexOf(`${name}`) + Buffer.byteLength(name) + 4 + 8 * shape.length;
    expect(bytes.readUInt32LE(at)).toBe(8);
    bytes.writeUInt32LE(id, at);
    for (let i = 0; i < sizeOf(shape) / block; i++) {
      const start = offset + i * width;
      for (let j = 0; j < width; j++) bytes[start + j] = Math.floor(256 * rng.uniform());
      for (const [where, scale] of READ[type]!) bytes.writeUInt16LE(f16Bits(scale), start + where);
    }
  }
  writeFileSync(path, bytes);
}

type Step = Awaited<ReturnType<typeof step>>;

function expectNear(found: Step, exact: Step, bound: number): void {
  expect(Math.abs(found.loss / exact.loss - 1)).toBeLessThanOrEqual(bound);
  expect(Math.abs(found.after / exact.after - 1)).toBeLessThanOrEqual(5 * bound);
  expect(Math.abs(found.gradNorm / exact.gradNorm - 1)).toBeLessThanOrEqual(10 * bound);
  if (bound > 0) expect(found.loss).not.toBe(exact.loss);
}

describe.each(FAMILY_CASES)("%s", (name) => {
  let open: OpenModel;
  let exact: Step;
  beforeAll(async () => {
    const config = runnable(name, resized(name, { hiddenSize: 256, intermediateSize: 256, headDim: 64 }));
    const norm = config.unitOffsetNorm ? 0 : 1;
    const draw = (weight: string, noise: number) =>
      weight.endsWith("norm.weight") ? norm + 0.1 * noise : 0.05 * noise;
    const path = await randomFolder(join(folder, name), config, name, draw);
    writeTokenizer(path);
    open = await openModel(nodeFiles, path);
    exact = await step(open, {});
    expect(exact.after).toBeLessThan(exact.loss * rows.reduce((n, row) => n + row.ids.length - 3, 0));
  });
  afterAll(() => open.close());

  it.each(Object.entries(HELD))("base_precision %s", async (held, bound) => {
    const basePrecision = (held === "nf4_dq" ? "nf4" : held) as "nf4";
    const found = await step(open, { basePrecision, bnb4bitUseDoubleQuant: held === "nf4_dq" });
    expectNear(found, exact, bound);
    expect(found.codec).toBe({ int8: "q8_0", native: "f32" }[held] ?? held);
  });

  it.each(GGUF_WEIGHT_TYPES)("GGUF of %s", async (type) => {
    const path = join(folder, `${name}-${type}.gguf`);
    await exportGguf(nodeFiles, open, undefined, path, { type, name: "m" });
    const file = await openModel(nodeFiles, path);
    const found = await step(file, { basePrecision: "native" });
    await file.close();
    rmSync(path);
    expectNear(found, exact, WRITTEN[type]);
    expect(found.codec).toBe(type);
  });

  it.each(Object.keys(READ))("GGUF of %s, as it is stored and unpacked", async (type) => {
    const path = join(folder, `${name}-${type}.gguf`);
    await exportGguf(nodeFiles, open, undefined, path, { type: "q8_0", name: "m" });
    await retype(path, type);
    const file = await openModel(nodeFiles, path);
    const [stored, unpacked] = [await step(file, { basePrecision: "native" }), await step(file, {})];
    await file.close();
    rmSync(path);
    expect(stored.codec).toBe(type);
    for (const figure of ["loss", "gradNorm", "after"] as const)
      expect(Math.abs(stored[figure] / unpacked[figure] - 1)).toBeLessThan(1e-5);
  });
});
