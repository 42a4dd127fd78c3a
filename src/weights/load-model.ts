import { type ModelConfig, weightShapes } from "../models/index.js";
import { type Device, encodedBytes, encodedView, tensor, type View } from "../runtime/index.js";
import { meanScale, quantizeScales } from "../tensor/codecs/nf4-double.js";
import { type CodecName, decodeValues, type Shape, sizeOf } from "../tensor/index.js";
import { createPace } from "../tensor/pace.js";
import { type BasePrecision, encodeStored, heldAs, storageOf } from "./base-precision.js";
import type { OpenModel } from "./model-folder.js";

/** A base model resident on a device: one copy of its weights for training, evaluation and generation. */
export interface ResidentModel {
  readonly device: Device;
  readonly config: ModelConfig;
  /** By published name; encoded where the model is not held as fp32. */
  readonly weights: ReadonlyMap<string, View>;
  /** Bits of a weight in linear layers and head, of a model that only generates (`loadFewBits`). */
  readonly bits?: 4 | 8 | undefined;
}

export interface LoadWeightsOptions {
  /** Default "f32". */
  readonly basePrecision?: BasePrecision;
  /** With nf4: its scales in 8 bits. Default false. */
  readonly bnb4bitUseDoubleQuant?: boolean;
  /** Leave the matrices in the file and read them whenever a step needs them. Default "none". */
  readonly baseOffload?: "none" | "disk";
  /** The weights that are loaded, where others hold the rest. Default: all. */
  readonly reads?: ((name: string) => boolean) | undefined;
}

/** A model on its way to a device, tensor by tensor: each one's bytes as they will be held, then handed over. */
export interface WeightLoader {
  /** How each weight is held. */
  readonly types: ReadonlyMap<string, CodecName>;
  /** Throws UserError for values that the precision cannot hold. */
  read(name: string): Promise<Float32Array | Uint8Array>;
  put(name: string, data: Float32Array | Uint8Array): Promise<void>;
  /** The model, when every weight is there. */
  done(): Promise<ResidentModel>;
  /** Frees what is on the device already. */
  undo(): Promise<void>;
}

/**
 * Streams a checkpoint's weights onto a device, tensor by tensor, each encoded before the next is read: memory peaks at the
 * weights plus the largest tensor. Throws UserError for values that the precision cannot hold.
 */
export async function loadWeights(
  device: Device,
  model: OpenModel,
  options: LoadWeightsOptions = {},
): Promise<ResidentModel> {
  const loader = weightLoader(device, model, options);
  for (const name of loader.types.keys()) await loader.put(name, await loader.read(name));
  return loader.done();
}

/** Loads a model's weights in any order. Matrices that stay in their file are there from the start, and not among `types`. */
export function weightLoader(device: Device, model: OpenModel, options: LoadWeightsOptions): WeightLoader {
  const { basePrecision = "f32", bnb4bitUseDoubleQuant, baseOffload = "none", reads = () => true } = options;
  const { config, tensors } = model;
  const computes = device.precision === "reduced" ? "bf16" : "f32";
  const held = heldAs(basePrecision, computes, bnb4bitUseDoubleQuant);
  const shapes = new Map([...weightShapes(config)].filter(([name]) => reads(name)));
  const loaded = new Map<string, View>();
  const types = new Map<string, CodecName>();
  const values = new Scratch();
  for (const [name, shape] of shapes) {
    const { stored } = tensors.tensors.get(name)!;
    const offloaded = baseOffload === "disk" && shape.length > 1;
    const type = storageOf(offloaded ? "native" : held, name, shape, stored);
    if (offloaded) loaded.set(name, encodedView(device.allocate(tensors.place(name)), type, shape));
    else types.set(name, type);
  }
  return {
    types,
    async read(name) {
      const type = types.get(name)!;
      if (type === "f32") return tensors.read(name);
      if (basePrecision === "native") return tensors.readRaw(name);
      return encode(name, type, await tensors.read(name, values.take(sizeOf(shapes.get(name)!))));
    },
    async put(name, data) {
      const [type, shape] = [types.get(name)!, shapes.get(name)!];
      const view = type === "f32" ? tensor(device, "f32", shape) : encoded(device, type, shape);
      device.upload(view, data);
      loaded.set(name, view);
      await device.flush();
    },
    async undo() {
      for (const { buffer } of loaded.values()) device.free(buffer);
      loaded.clear();
      await values.handOver(device);
    },
    async done() {
      await values.handOver(device);
      return { device, config, weights: new Map([...shapes.keys()].map((name) => [name, loaded.get(name)!])) };
    },
  };
}

/** Values encoded between two turns of the event loop: a whole number of any type's blocks, and of their groups. */
const CHUNK = 2 ** 20;

async function encode(name: string, type: CodecName, values: Float32Array): Promise<Uint8Array> {
  if (type === "nf4_dq") return doubly(await encode(name, "nf4", values));
  const out = new Uint8Array(encodedBytes(type, [values.length]));
  const pace = createPace();
  for (let at = 0; at < values.length; at += CHUNK) {
    out.set(encodeStored(name, type, values.subarray(at, at + CHUNK)), encodedBytes(type, [at]));
    await pace();
  }
  return out;
}

/** What values of a tensor become by being held in that type. Throws UserError for values that the type cannot hold. */
export async function heldValues(name: string, type: CodecName, values: Float32Array): Promise<Float32Array> {
  const held = new Float32Array(values.length);
  decodeValues(type, await encode(name, type, values), held);
  return held;
}

/** A tensor's nf4 with its scales quantised. */
async function doubly(nf4: Uint8Array): Promise<Uint8Array> {
  const bytes = encodedBytes("nf4", [CHUNK]);
  const part = encodedBytes("nf4_dq", [CHUNK]);
  const out = new Uint8Array(encodedBytes("nf4_dq", [(nf4.length / bytes) * CHUNK]));
  const mean = meanScale(nf4);
  const pace = createPace();
  for (let i = 0; i * bytes < nf4.length; i++) {
    out.set(quantizeScales(nf4.subarray(i * bytes, (i + 1) * bytes), mean), i * part);
    await pace();
  }
  return out;
}

/** Memory for an encoded tensor. */
export function encoded(device: Device, type: CodecName, shape: Shape): View {
  return encodedView(device.allocate(encodedBytes(type, shape)), type, shape);
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
