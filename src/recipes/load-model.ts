import { type BasePrecision, encodeStored, heldAs, storageOf } from "../checkpoint/base-precision.js";
import type { OpenModel } from "../checkpoint/model-folder.js";
import { createPace } from "../data/pace.js";
import { type LlamaConfig, weightShapes } from "../models/index.js";
import { type Device, encodedBytes, encodedView, tensor, type View } from "../runtime/index.js";
import { type CodecName, type Shape, sizeOf } from "../tensor/index.js";

/** A base model resident on a device: one copy of its weights for training, evaluation and generation. */
export interface ResidentModel {
  readonly device: Device;
  readonly config: LlamaConfig;
  /** By checkpoint name; encoded where the model is not held as fp32. */
  readonly weights: ReadonlyMap<string, View>;
  /** Bits of a weight in linear layers and head, of a model that only generates (`loadPacked`). */
  readonly bits?: 4 | 8 | undefined;
}

export interface LoadWeightsOptions {
  /** Default "f32". */
  readonly basePrecision?: BasePrecision;
  /** Leave the matrices in the file and read them whenever a step needs them. Default "none". */
  readonly baseOffload?: "none" | "disk";
  /** Told the share loaded, 0 to 1. */
  readonly onProgress?: (share: number) => void;
}

/**
 * Streams a checkpoint's weights onto a device, tensor by tensor, each encoded before the next is read: memory peaks at the
 * weights plus the largest tensor. Throws UserError for values that the precision cannot hold.
 */
export async function loadWeights(
  device: Device,
  model: OpenModel,
  { basePrecision = "f32", baseOffload = "none", onProgress }: LoadWeightsOptions = {},
): Promise<ResidentModel> {
  const held = heldAs(basePrecision, device.precision === "reduced" ? "bf16" : "f32");
  const weights = new Map<string, View>();
  const shapes = weightShapes(model.config);
  const values = new Scratch();
  for (const [name, shape] of shapes) {
    const { stored } = model.tensors.tensors.get(name)!;
    const offloaded = baseOffload === "disk" && shape.length > 1;
    const type = storageOf(offloaded ? "native" : held, name, shape, stored);
    if (offloaded) weights.set(name, encodedView(device.openFile(model.tensors.place(name)), type, shape));
    else if (type === "f32") weights.set(name, await loadDense(device, model, name, shape));
    else {
      const view = encoded(device, type, shape);
      const data =
        basePrecision === "native"
          ? await model.tensors.readRaw(name)
          : await encode(name, type, await model.tensors.read(name, values.take(sizeOf(shape))));
      device.upload(view, data);
      weights.set(name, view);
    }
    await device.flush();
    onProgress?.(weights.size / shapes.size);
  }
  await values.handOver(device);
  return { device, config: model.config, weights };
}

/** Values encoded between two turns of the event loop: a whole number of any type's blocks. */
const CHUNK = 2 ** 20;

async function encode(name: string, type: CodecName, values: Float32Array): Promise<Uint8Array> {
  const out = new Uint8Array(encodedBytes(type, [values.length]));
  const pace = createPace();
  for (let at = 0; at < values.length; at += CHUNK) {
    out.set(encodeStored(name, type, values.subarray(at, at + CHUNK)), encodedBytes(type, [at]));
    await pace();
  }
  return out;
}

/** Memory for an encoded tensor. */
export function encoded(device: Device, type: CodecName, shape: Shape): View {
  return encodedView(device.allocate(encodedBytes(type, shape)), type, shape);
}

async function loadDense(device: Device, model: OpenModel, name: string, shape: Shape): Promise<View> {
  const view = tensor(device, "f32", shape);
  device.upload(view, await model.tensors.read(name));
  return view;
}

/** Memory for the values of one tensor after the other. */
class Scratch {
  private memory = new Float32Array();

  take(size: number): Float32Array {
    if (this.memory.length < size) this.memory = new Float32Array(size);
    return this.memory.subarray(0, size);
  }

  /** Frees it through the device, whose thread collects at once: this one's collector would let it lie. */
  async handOver(device: Device): Promise<void> {
    if (this.memory.length === 0) return;
    const view = tensor(device, "f32", [this.memory.length]);
    device.upload(view, this.memory);
    device.free(view.buffer);
    this.memory = new Float32Array();
    await device.flush();
  }
}
