import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { weightNorms } from "../../src/adapters/index.js";
import { mergeWeight } from "../../src/export/merge.js";
import { readAdapter, writeAdapter } from "../../src/formats/peft/adapter.js";
import { define, gradient, interpret } from "../../src/graph/index.js";
import { linear } from "../../src/models/index.js";
import { nodeFiles } from "../../src/node/files.js";
import { openAdapterCase } from "./adapter-case.js";
import { expectedUnder, readJson, readTensors, relativeError, valuesOf, worstError } from "./vectors.js";

const NAMES = ["some", "all"] as const;
const { folder, base, expected, adapters, samples, variantOf, trainerOf, expectGradients, expectGenerated } =
  await openAdapterCase("dora", "bias", NAMES);
const reference = { ...base, expected };

describe.each(NAMES)("DoRA on a model with biases ('%s')", (name) => {
  it.each([{}, { checkpointing: true }, { save: "none" }] as const)(
    "has PEFT's loss and every gradient: %j",
    (options) => expectGradients(name, options),
  );

  it("takes PEFT's ten AdamW steps", async () => {
    const { training } = variantOf(name);
    const { betas, eps, weight_decay: weightDecay, max_grad_norm: maxGradNorm } = training;
    const trainer = trainerOf(name, { optimizer: { betas, eps, weightDecay } });
    for (const [i, step] of training.micro_batches.entries()) {
      const batches = step.map((micro) => micro.map((row) => samples[row]!));
      const { loss } = await trainer.step(batches, { lr: training.lr[i]!, maxGradNorm });
      expect(Math.abs(loss / training.losses[i]! - 1), `step ${i}`).toBeLessThan(1e-4);
    }
    const { parameters } = await trainer.state();
    const worst = worstError(valuesOf(parameters), expectedUnder(reference, `${name}.trained.`));
    expect(worst.error, worst.name).toBeLessThan(2e-4);
    await trainer.dispose();
  });

  it("generates PEFT's logits and greedy tokens, alone and beside the other one", () =>
    expectGenerated(name, name === "some" ? "all" : "some"));

  it("merges as merge_and_unload does", async () => {
    const merged = expectedUnder(reference, `${name}.merged.`);
    expect(merged.size).toBe(2);
    for (const [key, wanted] of merged) {
      const weight = (base.weights.get(key)!.data as Float32Array).slice();
      await mergeWeight(key, weight, adapters[name]);
      expect(relativeError(weight, wanted), key).toBeLessThan(3e-7);
      expect(relativeError(weight, base.weights.get(key)!.data as Float32Array), key).toBeGreaterThan(0.05);
    }
  });

  it("is read and written as PEFT has it", async () => {
    const { config, tensors } = adapters[name];
    expect(config.kind).toBe("dora");
    const stored = readTensors(`${folder}/${name}/adapter_model.safetensors`);
    expect([...stored.keys()].sort()).toEqual([...tensors.keys()].map((key) => `base_model.model.${key}`).sort());
    const path = await mkdtemp(join(tmpdir(), "dora-"));
    await writeAdapter(nodeFiles, join(path, "again"), adapters[name]);
    expect(await readAdapter(nodeFiles, join(path, "again"), base.config)).toEqual({
      ...adapters[name],
      base: { name: "tiny-llama" },
    });
    expect(readJson(join(path, "again", "adapter_config.json"))).toMatchObject({ use_dora: true });
    await rm(path, { recursive: true });
  });
});

it("drops what PEFT drops: the frozen product that a gain weighs sees the dropped input", () => {
  const vectors = readTensors(`${folder}/dropout.safetensors`);
  const given = (name: string) => vectors.get(name.replace("q_proj.", ""))!;
  const config = { ...base.config, hiddenSize: 6, headDim: 5, numAttentionHeads: 1, attentionBias: true };
  const adaptation = { dropout: 0.5, lora: { q_proj: { kind: "dora", r: 2, alpha: 5, scale: 2.5 } } } as const;
  const f = define("dropped", (declare) => ({
    y: linear(declare, config, "q_proj", declare("x", [4, 6]), adaptation),
  }));
  const names: Record<string, string> = { x: "x", "q_proj.dropout_mask": "mask" };
  const norms = interpret(weightNorms("q_proj.", { kind: "dora", out: 5, in: 6, r: 2, scale: 2.5 }), {
    "q_proj.weight": given("weight"),
    "q_proj.lora_A.weight": given("lora_A.weight"),
    "q_proj.lora_B.weight": given("lora_B.weight"),
  }).norms!;
  const inputs = Object.fromEntries(
    Object.keys(f.inputs).map((name) => [name, name === "q_proj.weight_norm" ? norms : given(names[name] ?? name)]),
  );
  const trained = ["lora_A.weight", "lora_B.weight", "lora_magnitude_vector"];
  const { forward, backward } = gradient(f, ["x", ...trained.map((name) => `q_proj.${name}`)], "all");
  const made = interpret(forward, inputs);
  const close = (actual: ArrayLike<number>, name: string) =>
    expect(relativeError(actual, given(name).data as Float32Array), name).toBeLessThan(1e-6);
  close(made.y!.data, "y");
  const found = interpret(backward, { ...inputs, ...made, d_y: given("d_y") });
  for (const name of trained) close(found[`d_q_proj.${name}`]!.data, `d_${name}`);
  close(found.d_x!.data, "d_x");
});
