import { describe, expect, it } from "vitest";
import { combineAdapters } from "../../src/export/combine.js";
import { mergeWeight } from "../../src/export/merge.js";
import { type Adapter, adaptedModule, adaptedModules } from "../../src/formats/peft/adapter.js";
import { loraScale } from "../../src/models/index.js";
import { openAdapterCase } from "./adapter-case.js";
import { expectedUnder, relativeError } from "./vectors.js";

const NAMES = ["qv", "all"] as const;
const { base, config, expected, adapters, expectGradients, expectGenerated } = await openAdapterCase(
  "patterns",
  "llama3",
  NAMES,
);

describe.each(NAMES)("PEFT's adapter '%s' with rank_pattern and alpha_pattern", (name) => {
  it("has its ranks and scales", () => {
    const ranks = adaptedModules(adapters[name]).map(({ layer, name: linear, r }) => `${layer} ${linear} ${r}`);
    expect(ranks).toMatchSnapshot();
  });

  it.each([{}, { checkpointing: true }])("trains with PEFT's loss and every gradient: %j", (options) =>
    expectGradients(name, options),
  );

  it("generates PEFT's logits and greedy tokens", () => expectGenerated(name));
});

it("merges as merge_and_unload does", async () => {
  const merged = expectedUnder({ ...base, expected }, "all.merged.");
  expect(merged.size).toBe(7 * config.numHiddenLayers);
  for (const [name, wanted] of merged) {
    const weight = (base.weights.get(name)!.data as Float32Array).slice();
    await mergeWeight(name, weight, adapters.all);
    expect(relativeError(weight, wanted), name).toBeLessThan(3e-7);
  }
});

/** scale B A of a module, in float64. */
function product(adapter: Adapter, path: string): Float64Array {
  const { a, b, r, scale } = adaptedModule(adapter, path)!;
  const [out, into] = [b.shape[0]!, a.shape[1]!];
  const result = new Float64Array(out * into);
  for (let o = 0; o < out; o++)
    for (let k = 0; k < r; k++)
      for (let i = 0; i < into; i++)
        result[o * into + i]! += scale * (b.data[o * r + k] as number) * (a.data[k * into + i] as number);
  return result;
}

it.each(["cat", "svd", "linear"] as const)("combines as add_weighted_adapter does: %s", (method) => {
  const parts = [
    { adapter: adapters.qv, weight: 0.7 },
    { adapter: method === "linear" ? adapters.qv : adapters.all, weight: -0.4 },
  ];
  const combined = combineAdapters(parts, { method, ...(method === "svd" ? { rank: 4 } : {}) });
  expect(combined.config).toMatchObject({ r: { cat: 11, svd: 4, linear: 6 }[method], useRslora: false });
  expect(loraScale(combined.config)).toBe(1);
  const wanted = new Map([...expected].filter(([key]) => key.startsWith(`${method}.combined.`)));
  expect(wanted.size).toBe(combined.tensors.size);
  for (const { layer, name } of adaptedModules(combined)) {
    const path = [...combined.tensors.keys()].find((key) => key.includes(`.${layer}.`) && key.includes(name))!;
    const module = path.replace(/\.lora_[AB]\.weight$/, "");
    // PEFT leaves a smaller rank's factors short, though its configuration says the full one; ours are filled with zeros.
    const [a, b] = ["A", "B"].map((factor) => wanted.get(`${method}.combined.${module}.lora_${factor}.weight`)!);
    const r = a!.shape[0]!;
    const theirs = new Map([
      [`${module}.lora_A.weight`, a!],
      [`${module}.lora_B.weight`, b!],
    ]);
    const peft: Adapter = { config: { ...combined.config, r, alpha: r }, tensors: theirs, base: {} };
    expect(relativeError(product(combined, module), product(peft, module)), module).toBeLessThan(1e-5);
  }
});
