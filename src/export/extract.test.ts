import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { memoryFiles } from "../formats/memory-files.js";
import { type Adapter, adapterShapes } from "../formats/peft/adapter.js";
import type { LoraConfig } from "../models/lora-config.js";
import { nodeFiles } from "../node/files.js";
import { f32, random } from "../tensor/index.js";
import { type OpenModel, openModel } from "../weights/model-folder.js";
import { extractAdapter } from "./extract.js";
import { mergeModel, mergeWeight } from "./merge.js";

let base: OpenModel;
let tuned: OpenModel;
let adapter: Adapter;

beforeAll(async () => {
  base = await openModel(nodeFiles, fileURLToPath(new URL("../../models/tiny", import.meta.url)));
  const config: LoraConfig = {
    r: 4,
    alpha: 8,
    dropout: 0,
    useRslora: false,
    init: "gaussian",
    targetModules: ["q_proj", "gate_proj", "down_proj"],
  };
  const rng = random(1, "adapter");
  const tensors = new Map(
    [...adapterShapes(config, base.config)].map(([name, shape]) => {
      return [
        name,
        f32(
          shape,
          Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => 0.1 * rng.normal()),
        ),
      ];
    }),
  );
  adapter = { config, tensors, base: {} };
  const files = memoryFiles();
  await mergeModel(files, base, adapter, "tuned", { dtype: "f32" });
  tuned = await openModel(files, "tuned");
});
afterAll(async () => {
  await base.close();
});

describe("extract", () => {
  test("finds an adapter that was merged: rank 4 holds it all, and what it adds is what was added", async () => {
    const found = await extractAdapter(base, tuned, { r: 4 });
    expect(found.energy.map(({ rank }) => rank)).toEqual([1, 2, 4]);
    expect(found.energy.at(-1)!.share).toBeGreaterThan(1 - 1e-9);
    expect(found.energy[0]!.share).toBeLessThan(0.7);
    expect(found.lost).toEqual([]);
    const name = "model.layers.1.mlp.down_proj.weight";
    const values = await base.tensors.read(name);
    await mergeWeight(name, values, found.adapter);
    const expected = await tuned.tensors.read(name);
    expect(Math.max(...values.map((x, i) => Math.abs(x - expected[i]!)))).toBeLessThan(1e-6);
    expect(found.adapter.base.sha256).toBe(await base.hash());
    expect(found.layers.find(({ name: layer }) => layer.endsWith("0.self_attn.v_proj.weight"))!.share).toBe(1);
  });

  test("a lower rank keeps the largest singular values: no adapter of rank 2 is nearer", async () => {
    const exact = await extractAdapter(base, tuned, { r: 4, targetModules: ["gate_proj"] });
    const two = await extractAdapter(base, tuned, { r: 2, targetModules: ["gate_proj"] });
    expect(two.energy.at(-1)!.share).toBeCloseTo(exact.energy[1]!.share, 10);
    // By Eckart and Young the error's energy is what was not kept.
    const name = "model.layers.0.mlp.gate_proj.weight";
    const values = await base.tensors.read(name);
    await mergeWeight(name, values, two.adapter);
    const [expected, start] = [await tuned.tensors.read(name), await base.tensors.read(name)];
    const energy = (a: Float32Array, b: Float32Array) => a.reduce((sum, x, i) => sum + (x - b[i]!) ** 2, 0);
    const share = two.layers.find((layer) => layer.name === name)!.share;
    expect(1 - energy(expected, values) / energy(expected, start)).toBeCloseTo(share, 5);
    expect(share).toBeLessThan(0.95);
  });

  test("differences outside the adapted layers are named; the same seed gives the same bytes", async () => {
    const found = await extractAdapter(base, tuned, { r: 2, targetModules: ["q_proj"], seed: 3 });
    expect(found.lost.map(({ name }) => name)).toContain("model.layers.0.mlp.gate_proj.weight");
    const again = await extractAdapter(base, tuned, { r: 2, targetModules: ["q_proj"], seed: 3 });
    expect(again.adapter.tensors).toEqual(found.adapter.tensors);
  });

  test("models that do not differ, or differ in shape, are refused", async () => {
    await expect(extractAdapter(base, base, { r: 2 })).rejects.toThrow("nothing to extract");
    const other = { ...tuned, config: { ...tuned.config, intermediateSize: 8 } };
    await expect(extractAdapter(base, other, { r: 2 })).rejects.toThrow("both must be of one shape");
    await expect(extractAdapter(base, tuned, { r: 0 })).rejects.toThrow("the rank must be");
  });
});

test("a random projection finds the leading values of a full spectrum", async () => {
  const { hiddenSize: width } = { hiddenSize: 130 };
  const rng = random(9, "wide");
  const config = { ...base.config, hiddenSize: width, intermediateSize: 300, numHiddenLayers: 1 };
  const zero = new Float32Array(300 * width);
  const spiked = Float32Array.from(zero, () => 0.01 * rng.normal());
  const [left, right] = [
    Array.from({ length: 300 }, () => rng.normal()),
    Array.from({ length: width }, () => rng.normal()),
  ];
  for (let o = 0; o < 300; o++) for (let i = 0; i < width; i++) spiked[o * width + i]! += 0.1 * left[o]! * right[i]!;
  const model = (gate: Float32Array): OpenModel => ({
    ...base,
    config,
    tensors: {
      ...base.tensors,
      read: async (name) => (name.endsWith("gate_proj.weight") ? gate.slice() : new Float32Array(1)),
    },
  });
  const found = await extractAdapter(model(zero), model(spiked), { r: 1, targetModules: ["gate_proj"] });
  const total = spiked.reduce((sum, x) => sum + x * x, 0);
  const norm = (x: readonly number[]) => x.reduce((sum, y) => sum + y * y, 0);
  expect(found.energy[0]!.share).toBeGreaterThan((0.01 * norm(left) * norm(right)) / total - 1e-3);
  expect(found.energy[0]!.share).toBeLessThan(1);
});
