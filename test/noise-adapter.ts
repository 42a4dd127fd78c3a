import { type Adapter, adapterShapes, writeAdapter } from "../src/formats/peft/adapter.js";
import type { LoraConfig } from "../src/models/lora-config.js";
import { nodeFiles } from "../src/node/files.js";
import { f32, random } from "../src/tensor/index.js";
import { openModel } from "../src/weights/model-folder.js";

/** Writes an adapter with noise in both factors, of every linear layer, and returns it: of 0.1 it is strong enough to change answers. */
export async function writeNoise(
  base: string,
  path: string,
  strength: number,
  more: Partial<LoraConfig> & { readonly seed?: number } = {},
): Promise<Adapter> {
  const { config: model, close } = await openModel(nodeFiles, base);
  await close();
  const { seed = 3, ...changes } = more;
  const targetModules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"] as const;
  const config = { r: 3, alpha: 5, dropout: 0, useRslora: true, init: "gaussian", targetModules, ...changes } as const;
  const rng = random(seed, "noise");
  const draw = (size: number) => Float32Array.from({ length: size }, () => strength * rng.normal());
  const tensors = new Map(
    [...adapterShapes(config, model)].map(
      ([name, shape]) => [name, f32(shape, draw(shape.reduce((a, b) => a * b)))] as const,
    ),
  );
  const adapter: Adapter = { config, tensors, base: { name: base } };
  await writeAdapter(nodeFiles, path, adapter);
  return adapter;
}
