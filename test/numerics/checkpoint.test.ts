import { describe, expect, it } from "vitest";
import { mergeWeight } from "../../src/export/merge.js";
import { configFromHf } from "../../src/formats/hf/config.js";
import { readAdapter } from "../../src/formats/peft/adapter.js";
import { linearNames, loraScale } from "../../src/models/index.js";
import { nodeFiles } from "../../src/node/files.js";
import { CASES, expectedUnder, readAdapterOf, readCase, readJson, relativeError } from "./vectors.js";

describe.each(CASES.map(readCase))("$name", (reference) => {
  const { folder, config } = reference;

  it("rope_parameters of transformers 5 and rope_theta + rope_scaling of transformers 4 read the same", () => {
    expect(configFromHf(readJson(`${folder}/config-v4.json`) as never, "config-v4.json")).toEqual(config);
  });

  it.each(["qv", "all"] as const)(
    "PEFT's own adapter folder '%s' is read whole, with its effective scale",
    async (name) => {
      const adapter = await readAdapter(nodeFiles, `${folder}/${name}`, config);
      const { lora, tensors } = readAdapterOf(reference, name);
      expect([...adapter.config.targetModules].sort()).toEqual([...lora.targetModules].sort());
      expect(adapter.config.layersToTransform).toBeUndefined();
      expect(loraScale(adapter.config)).toBeCloseTo(name === "qv" ? 8 / 4 : 7 / Math.sqrt(3), 12);
      expect(new Map([...adapter.tensors].sort())).toEqual(new Map([...tensors].sort()));
    },
  );

  it("merging every linear layer equals merge_and_unload, and differs from the base", async () => {
    const adapter = await readAdapter(nodeFiles, `${folder}/all`, config);
    const merged = expectedUnder(reference, "all.merged.");
    expect(merged.size).toBe(linearNames(config).length * config.numHiddenLayers);
    for (const [name, expected] of merged) {
      const base = reference.weights.get(name)!.data as Float32Array;
      const weight = base.slice();
      await mergeWeight(name, weight, adapter);
      expect(relativeError(weight, expected), name).toBeLessThan(2e-7);
      expect(relativeError(base, expected), name).toBeGreaterThan(0.01);
    }
  });
});
