import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { type AdapterBase, formerHash } from "../formats/base-hash.js";
import type { Adapter } from "../formats/peft/adapter.js";
import { openSafetensors } from "../formats/safetensors.js";
import type { LoraConfig } from "../models/lora-config.js";
import { loraScale } from "../models/lora-config.js";
import { nodeFiles } from "../node/files.js";
import { f32, type HostTensor, random } from "../tensor/index.js";
import { productSvd, svd } from "../tensor/svd.js";
import { type CombineOptions, checkOneBase, combineAdapters } from "./combine.js";

const fixture = fileURLToPath(new URL("../formats/fixtures/combine.safetensors", import.meta.url));
const CONFIGS: Readonly<Record<string, Pick<LoraConfig, "r" | "alpha" | "useRslora" | "targetModules">>> = {
  one: { r: 4, alpha: 6, useRslora: false, targetModules: ["q_proj", "v_proj"] },
  two: { r: 4, alpha: 8, useRslora: true, targetModules: ["q_proj", "down_proj"] },
  three: { r: 2, alpha: 3, useRslora: false, targetModules: ["q_proj", "v_proj"] },
};
const vectors = new Map<string, Map<string, HostTensor>>();

beforeAll(async () => {
  const source = await openSafetensors(nodeFiles, fixture);
  for (const [name, { shape }] of source.tensors) {
    const [group, ...rest] = name.split(".") as [string, ...string[]];
    if (!vectors.has(group)) vectors.set(group, new Map());
    vectors.get(group)!.set(rest.join("."), f32(shape, await source.read(name)));
  }
  await source.close();
});

const adapter = (name: string): Adapter => ({
  config: { ...CONFIGS[name]!, dropout: 0, init: "gaussian" },
  tensors: vectors.get(name)!,
  base: {},
});
const combined = (options: CombineOptions, names = ["one", "two"]): Adapter =>
  combineAdapters(
    [
      { adapter: adapter(names[0]!), weight: 0.7 },
      { adapter: adapter(names[1]!), weight: -0.4 },
    ],
    options,
  );

/** Largest difference of two tensors. */
function apart(a: HostTensor, b: HostTensor): number {
  expect(a.shape).toEqual(b.shape);
  return Math.max(...(a.data as Float32Array).map((x, i) => Math.abs(x - (b.data as Float32Array)[i]!)));
}

/** scale B A of every module, in float64. */
function products({ config, tensors }: Pick<Adapter, "config" | "tensors">): Map<string, Float64Array> {
  const result = new Map<string, Float64Array>();
  for (const [name, { data: a, shape }] of tensors) {
    if (!name.endsWith(".lora_A.weight")) continue;
    const { data: b, shape: other } = tensors.get(name.replace("_A", "_B"))!;
    const [r, into, out] = [shape[0]!, shape[1]!, other[0]!];
    const product = new Float64Array(out * into);
    for (let o = 0; o < out; o++)
      for (let k = 0; k < r; k++)
        for (let i = 0; i < into; i++)
          product[o * into + i]! += loraScale(config) * Number(b[o * r + k]) * Number(a[k * into + i]);
    result.set(name, product);
  }
  return result;
}

describe("combining equals PEFT's add_weighted_adapter", () => {
  test.each<[string, CombineOptions, string[]?]>([
    ["linear", { method: "linear" }],
    ["cat", { method: "cat" }],
    ["ties", { method: "ties", density: 0.5 }],
    ["ties_frequency", { method: "ties", density: 0.8, majoritySign: "frequency" }],
    ["dare_linear", { method: "dare_linear", density: 1 }],
    ["dare_ties", { method: "dare_ties", density: 1 }],
    ["magnitude_prune", { method: "magnitude_prune", density: 0.3 }],
    ["cat_ranks", { method: "cat" }, ["one", "three"]],
  ])("%s", (name, options, names) => {
    const result = combined(options, names);
    const expected = vectors.get(name)!;
    expect([...result.tensors.keys()].sort()).toEqual([...expected.keys()].sort());
    for (const [key, tensor] of expected) expect(apart(result.tensors.get(key)!, tensor), key).toBeLessThan(2e-6);
    expect(result.config).toMatchObject({ alpha: result.config.r, useRslora: false });
  });

  test.each<[string, number | undefined, string[]?]>([
    ["svd", 3],
    ["svd_ranks", undefined, ["one", "three"]],
  ])("%s, up to the signs of singular vectors", (name, rank, names) => {
    const result = combined({ method: "svd", ...(rank ? { rank } : {}) }, names);
    const expected = vectors.get(name)!;
    const other = products({ config: result.config, tensors: expected });
    for (const [key, product] of products(result)) {
      const worst = Math.max(...product.map((x, i) => Math.abs(x - other.get(key)![i]!)));
      expect(worst, key).toBeLessThan(1e-5);
    }
    for (const [key, tensor] of expected) {
      const bare = ({ shape, data }: HostTensor) => f32(shape, (data as Float32Array).map(Math.abs));
      expect(apart(bare(result.tensors.get(key)!), bare(tensor)), key).toBeLessThan(1e-4);
    }
  });
});

test("cat is the exact weighted sum, svd at full rank too", () => {
  const [one, two] = [products(adapter("one")), products(adapter("two"))];
  const full = combined({ method: "svd", rank: 8 });
  for (const [key, product] of products(combined({ method: "cat" }))) {
    const svdProduct = products(full).get(key)!;
    product.forEach((x, i) => {
      const expected = 0.7 * (one.get(key)?.[i] ?? 0) - 0.4 * (two.get(key)?.[i] ?? 0);
      expect(x).toBeCloseTo(expected, 5);
      expect(svdProduct[i]).toBeCloseTo(expected, 5);
    });
  }
});

test("dare keeps the stated share, rescaled so that its mean stays; the same seed gives the same bytes", () => {
  const size = 40_000;
  const config: LoraConfig = {
    r: 1,
    alpha: 1,
    dropout: 0,
    useRslora: false,
    init: "gaussian",
    targetModules: ["q_proj"],
  };
  const key = "model.layers.0.self_attn.q_proj.lora_";
  const ones = (): Adapter => ({
    config,
    tensors: new Map([
      [`${key}A.weight`, f32([1, size], new Float32Array(size).fill(1))],
      [`${key}B.weight`, f32([2, 1], [1, 1])],
    ]),
    base: {},
  });
  const parts = [
    { adapter: ones(), weight: 1 },
    { adapter: ones(), weight: 0 },
  ];
  const draw = (seed: number) =>
    combineAdapters(parts, { method: "dare_linear", density: 0.25, seed }).tensors.get(`${key}A.weight`)!
      .data as Float32Array;
  const values = draw(1);
  expect([...new Set(values)].sort()).toEqual([0, 4]);
  const mean = values.reduce((sum, x) => sum + x, 0) / size;
  expect(Math.abs(mean - 1)).toBeLessThan(5 * Math.sqrt(3 / size)); // 5 standard errors
  expect(draw(1)).toEqual(values);
  expect(draw(2)).not.toEqual(values);
});

test("what a method cannot do is refused by name", () => {
  expect(() => combined({ method: "linear" }, ["one", "three"])).toThrow(
    "linear needs adapters of one rank, these have 4, 2",
  );
  expect(() => combined({ method: "ties" })).toThrow("ties needs a density");
  expect(() => combined({ method: "ties", density: 0 })).toThrow("density must be above 0");
  expect(() => combined({ method: "cat", density: 0.5 })).toThrow("cat keeps every value");
  expect(() => combined({ method: "cat", rank: 3 })).toThrow("rank is for svd");
});

test("adapters of different bases are refused; one base by its hash of now and of before is one", async () => {
  const on = (base: AdapterBase) => ({ adapter: { ...adapter("one"), base }, weight: 1 });
  await expect(checkOneBase([on({}), on({ sha256: "a" }), on({ sha256: "b" })])).rejects.toThrow("different bases");
  const old = { name: "models/x.gguf", sha256: await formerHash("a", "x.gguf") };
  await checkOneBase([on({ name: "y.gguf", sha256: "a" }), on({}), on(old)]);
});

describe("singular values", () => {
  const noise = (n: number, length: number, seed: number) => {
    const rng = random(seed, "columns");
    return Array.from({ length: n }, () => Float64Array.from({ length }, () => rng.normal()));
  };
  const at = (u: readonly Float64Array[], s: Float64Array, v: readonly Float64Array[], row: number, column: number) =>
    s.reduce((sum, x, k) => sum + x * u[k]![row]! * v[k]![column]!, 0);

  test("Jacobi: U S V^T is the matrix, U and V are orthonormal, zero columns give zeros", () => {
    const columns = [...noise(9, 14, 1), new Float64Array(14)];
    columns[3] = columns[2]!.map((x) => 2 * x);
    const { u, s, v } = svd(columns);
    for (let i = 0; i < 14; i++)
      for (let j = 0; j < 10; j++) expect(at(u, s, v, i, j)).toBeCloseTo(columns[j]![i]!, 12);
    expect([...s]).toEqual([...s].sort((a, b) => b - a));
    expect(s[8]).toBeLessThan(1e-13);
    for (let i = 0; i < 8; i++)
      for (let j = 0; j < 8; j++)
        expect(u[i]!.reduce((sum, x, k) => sum + x * u[j]![k]!, 0)).toBeCloseTo(i === j ? 1 : 0, 12);
  });

  test("of a product, without making it", () => {
    const [left, right] = [noise(5, 20, 2), noise(5, 7, 3)];
    const { u, s, v } = productSvd(left, right);
    for (let i = 0; i < 20; i++) {
      for (let j = 0; j < 7; j++) {
        const expected = left.reduce((sum, column, k) => sum + column[i]! * right[k]![j]!, 0);
        expect(at(u, s, v, i, j)).toBeCloseTo(expected, 11);
      }
    }
  });
});
