import { hostNorms, kindOf } from "../adapters/index.js";
import { type Adapter, adaptedModules } from "../formats/peft/adapter.js";
import { linearBits, linearShape, modulePath } from "../models/index.js";
import { f32, type HostTensor } from "../tensor/index.js";
import { valuesOfBits } from "../weights/few-bits.js";
import type { ResidentModel } from "../weights/load-model.js";

/**
 * What a kind of adapter that goes by norms needs of a base in few bits: `weight_norm` [out] of every adapted layer, the norms of the
 * rows of W + scale B A with W as the bits hold it, as PEFT takes them of a quantised weight. Nothing for other kinds and bases.
 */
export async function quantizedNorms(
  { device, config, weights, bits }: ResidentModel,
  adapter: Adapter,
): Promise<Map<string, HostTensor>> {
  const found = new Map<string, HostTensor>();
  if (!bits || !kindOf(adapter.config.kind).startsAtNorms) return found;
  for (const module of adaptedModules(adapter)) {
    const path = modulePath(module.layer, module.name);
    const part = (name: string) => device.download(weights.get(`${path}.${name}`)!);
    const held = {
      codes: (await part("codes")) as Uint8Array,
      scales: (await part("scales")) as Float32Array,
      zeros: (await part("zeros")) as Uint8Array,
    };
    const shape = linearShape(config, module.name);
    const weight = valuesOfBits(held, shape, linearBits(config, module.layer, module.name, bits));
    const { data } = await hostNorms(module, weight);
    found.set(`${path}.weight_norm`, f32([module.out], Float32Array.from(data)));
  }
  return found;
}
