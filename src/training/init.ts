import { type LoraConfig, type ModelConfig, weightShapes } from "../models/index.js";
import { f32, type HostTensor, random, sizeOf } from "../tensor/index.js";
import { trainableShapes } from "./layer-plan.js";

/**
 * A fresh adapter: B zero, A drawn per tensor from the run's seed. "gaussian": N(0, 1/r) as PEFT's
 * `init_lora_weights="gaussian"` (std 1/r); "kaiming": uniform in +-1/sqrt(in), PEFT's default (Kaiming, a = sqrt 5).
 */
export function initialAdapter(config: ModelConfig, lora: LoraConfig, seed: number): Map<string, HostTensor> {
  const tensors = new Map<string, HostTensor>();
  for (const [name, shape] of trainableShapes(config, { kind: "lora", lora })) {
    const data = new Float32Array(sizeOf(shape));
    if (name.endsWith(".lora_A.weight")) {
      const rng = random(seed, "init", name);
      const bound = 1 / Math.sqrt(shape[1]!);
      for (let i = 0; i < data.length; i++) {
        data[i] = lora.init === "gaussian" ? rng.normal() / shape[0]! : (2 * rng.uniform() - 1) * bound;
      }
    }
    tensors.set(name, f32(shape, data));
  }
  return tensors;
}

/** Random weights as transformers initialises a Llama: normal with std 0.02, norms 1, biases 0. */
export function initialWeights(config: ModelConfig, seed: number): Map<string, HostTensor> {
  const tensors = new Map<string, HostTensor>();
  for (const [name, shape] of weightShapes(config)) {
    const data = new Float32Array(sizeOf(shape));
    if (name.endsWith("norm.weight")) data.fill(1);
    else if (!name.endsWith(".bias")) {
      const rng = random(seed, "init", name);
      for (let i = 0; i < data.length; i++) data[i] = 0.02 * rng.normal();
    }
    tensors.set(name, f32(shape, data));
  }
  return tensors;
}
