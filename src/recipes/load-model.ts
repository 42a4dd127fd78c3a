import type { OpenModel } from "../checkpoint/model-folder.js";
import { type LlamaConfig, weightShapes } from "../models/index.js";
import { type Device, tensor, type View } from "../runtime/index.js";

/** A base model resident on a device: one copy of its weights for training, evaluation and generation. */
export interface ResidentModel {
  readonly device: Device;
  readonly config: LlamaConfig;
  readonly weights: ReadonlyMap<string, View>;
}

/**
 * Streams a checkpoint's weights onto a device as fp32, tensor by tensor: memory peaks at the weights plus the largest
 * tensor. `onProgress` is told the share loaded, 0 to 1.
 */
export async function loadWeights(
  device: Device,
  model: OpenModel,
  onProgress?: (share: number) => void,
): Promise<ResidentModel> {
  const weights = new Map<string, View>();
  const shapes = weightShapes(model.config);
  for (const [name, shape] of shapes) {
    const made = tensor(device, "f32", shape);
    device.upload(made, await model.tensors.read(name));
    await device.flush();
    weights.set(name, made);
    onProgress?.(weights.size / shapes.size);
  }
  return { device, config: model.config, weights };
}
