import { BITS_BLOCK } from "../graph/index.js";
import { bitsShapes, HEAD_BITS, headWeight, linearBits, parseModulePath, weightShapes } from "../models/index.js";
import { type Device, tensor, type View } from "../runtime/index.js";
import { UserError } from "../tensor/index.js";
import { option } from "../tensor/option.js";
import { type Bits, bitsAsStored, roundedToBits } from "./few-bits.js";
import type { ResidentModel } from "./load-model.js";
import type { OpenModel } from "./model-folder.js";

/** How the weights of a model that only generates are held and multiplied: fp32, or 8 or 4 bits in blocks of 32 with a scale each. */
export const QUANTIZATIONS = ["none", "int8", "int4"] as const;
export type Quantization = (typeof QUANTIZATIONS)[number];

/**
 * Streams a checkpoint's weights onto a device for generating alone: linear layers and head in few bits (`linearBits`), embedding and
 * norms in fp32. Blocks of a GGUF file that these bits hold exactly stay what they are. Throws UserError for rows that are no whole
 * number of blocks.
 */
export async function loadFewBits(device: Device, model: OpenModel, bits: Bits): Promise<ResidentModel> {
  const { config, tensors } = model;
  const weights = new Map<string, View>();
  const dense = async (name: string, shape: readonly number[]) => {
    const view = tensor(device, "f32", shape);
    device.upload(view, await tensors.read(name));
    weights.set(name, view);
  };
  const fewBits = async (name: string, shape: readonly [number, number], as: string, bits: Bits) => {
    if (shape[1] % BITS_BLOCK !== 0) {
      throw new UserError(
        `quantize: ${name} has rows of ${shape[1]} values, which is no multiple of ${BITS_BLOCK}; leave out ${option("quantize")}`,
      );
    }
    const { stored } = tensors.tensors.get(name)!;
    const exact = /^q[48]_0$/.test(stored) ? bitsAsStored(stored, await tensors.readRaw(name), shape, bits) : undefined;
    const weight = exact ?? roundedToBits(await tensors.read(name), shape, bits);
    const shapes = bitsShapes(shape, bits);
    for (const part of ["codes", "scales", "zeros"] as const) {
      const view = tensor(device, part === "scales" ? "f32" : "u8", shapes[part]);
      device.upload(view, weight[part]);
      weights.set(`${as}.${part}`, view);
    }
    await device.flush();
  };
  const head = headWeight(config);
  for (const [name, shape] of weightShapes(config)) {
    const matrix = shape as readonly [number, number];
    const table = name === "model.embed_tokens.weight";
    if (shape.length < 2 || table) await dense(name, shape);
    if (name === head) await fewBits(name, matrix, "lm_head", HEAD_BITS);
    const module = name.replace(/\.weight$/, "");
    const target = parseModulePath(module);
    if (target) await fewBits(name, matrix, module, linearBits(config, ...target, bits));
  }
  return { device, config, weights, bits };
}
