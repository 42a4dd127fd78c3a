import { baseName, type Files, folderOf, join } from "../formats/files.js";
import { openSafetensors } from "../formats/safetensors.js";
import { type TensorToWrite, writeSafetensors } from "../formats/safetensors-writer.js";
import type { StoredTensor, TensorSource } from "../formats/source.js";
import { weightShapes } from "../models/config.js";
import { asBytes, blockBytes, CODECS, type CodecName, sizeOf, UserError } from "../tensor/index.js";
import { BASE_PRECISIONS, type BasePrecision, type HeldPrecision, storageOf } from "./base-precision.js";
import type { OpenModel } from "./model-folder.js";

/** Where quantised bases are kept beside a model. */
const FOLDER = ".lowrank-cache";
const FORMAT = "1";
/** What the file's metadata calls it; another is somebody else's file. */
const KIND = "lowrank-base";
/** Last in the file: the SHA-256 of every tensor before it, in the order of their names. */
const SUMS = "sha256";
const SUM_BYTES = 32;
/** What is kept: everything else is read as fast from the model's own file. */
const KEPT: readonly BasePrecision[] = BASE_PRECISIONS.filter((p) => p !== "f32" && p !== "native");

/** A file that keeps a base as it is held, and what must be in its metadata for it to be used. */
export interface CachePlace {
  readonly folder: string;
  readonly path: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** How each weight is held. */
  readonly types: ReadonlyMap<string, CodecName>;
}

/** Throws UserError where there would be nothing to keep. */
export function refuseIdleCache(cache: boolean | string, precision: BasePrecision): void {
  if (cache === false || KEPT.includes(precision)) return;
  throw new UserError(`base_cache keeps a base as ${KEPT.join(", ")}; with base_precision ${precision} leave it out`);
}

/**
 * The file for a model held as `held`: in `.lowrank-cache` beside its weights, or in the folder `cache`. It belongs to the model's
 * weight files as they were opened: their names, sizes and times of change, or their hash where the system tells no times. Throws UserError when a link leads it out of the model's folder.
 */
export async function cachePlace(
  files: Files,
  model: OpenModel,
  held: HeldPrecision,
  cache: true | string,
): Promise<CachePlace> {
  const { config, tensors, kind, path } = model;
  const types = new Map<string, CodecName>();
  for (const [name, shape] of weightShapes(config))
    types.set(name, storageOf(held, name, shape, tensors.tensors.get(name)!.stored));
  const timed = tensors.files.every(({ modified }) => modified !== undefined);
  const source = timed
    ? tensors.files.map((file) => ({ name: baseName(file.path), size: file.size, modified: file.modified }))
    : await model.hash();
  const beside = kind === "hf" ? path : folderOf(path);
  const name = `${kind === "hf" && cache === true ? "model" : baseName(path)}.${held}.safetensors`;
  const file = cache === true ? await files.inside(beside, `${FOLDER}/${name}`) : join(cache, name);
  const metadata = { format: KIND, format_version: FORMAT, held_as: held, source: JSON.stringify(source) };
  return { folder: folderOf(file), path: file, metadata, types };
}

/**
 * The model with its weights as the file keeps them (they are read as base_precision native), or why the file cannot be used:
 * undefined when there is none. What `readRaw` gives was compared with its SHA-256; it throws UserError where the two differ. Throws UserError
 * for a sound file of weights that is somebody else's: it would be overwritten.
 */
export async function openCached(
  files: Files,
  model: OpenModel,
  { path, metadata, types }: CachePlace,
): Promise<OpenModel | string | undefined> {
  if (!(await files.stat(path))) return undefined;
  const source = await openSafetensors(files, path).catch((error: unknown) => messageOf(error));
  if (typeof source === "string") return source;
  if (source.metadata.format !== KIND) {
    await source.close();
    throw new UserError(`base_cache: ${path} holds weights that lowrank did not keep there; name another folder`);
  }
  const tensors = keptTensors(model, types);
  const fault = faultOf(source, metadata, tensors);
  if (fault) {
    await source.close();
    return `${path}: ${fault}`;
  }
  const order = [...types.keys()].sort();
  let sums: Promise<Uint8Array> | undefined;
  const readRaw = async (name: string, target?: Uint8Array) => {
    sums ??= source.readRaw(SUMS);
    const expected = await sums;
    const bytes = await source.readRaw(name, target);
    const at = order.indexOf(name) * SUM_BYTES;
    const sum = await sumOf(bytes);
    if (sum.some((byte, i) => byte !== expected[at + i])) throw new UserError(`${path}: ${name} is damaged`);
    return bytes;
  };
  const cached: TensorSource = {
    ...source,
    tensors,
    readRaw,
    async read(name, target) {
      const bytes = await readRaw(name);
      const values = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
      target?.set(values);
      return target ?? values;
    },
  };
  return { ...model, tensors: cached, close: () => source.close() };
}

/** Every weight as it is held. */
function keptTensors({ config }: OpenModel, types: CachePlace["types"]): Map<string, StoredTensor> {
  return new Map(
    [...weightShapes(config)].map(([name, shape]) => {
      const stored = types.get(name)!;
      const codec = CODECS[stored];
      return [name, { name, shape, stored, bytes: blockBytes(codec, sizeOf(shape) / codec.block) }];
    }),
  );
}

function faultOf(
  { tensors, metadata }: Awaited<ReturnType<typeof openSafetensors>>,
  wanted: CachePlace["metadata"],
  kept: ReadonlyMap<string, StoredTensor>,
): string | undefined {
  if (metadata.source !== wanted.source) return "the model's files are others now";
  if (Object.entries(wanted).some(([key, value]) => metadata[key] !== value)) return "it was kept by another version";
  const others = [...kept.values()].some(({ name, bytes }) => tensors.get(name)?.bytes !== bytes);
  if (others || tensors.get(SUMS)?.bytes !== SUM_BYTES * kept.size) return "it does not hold the model's weights";
  return undefined;
}

/**
 * Writes the file, whole or not at all. `take` gives each tensor's bytes when its turn comes, `placed` is told when they are
 * written. Throws UserError that says how much room it takes when it cannot be written; what `take` and `placed` throw passes.
 */
export async function writeCache<T extends Float32Array | Uint8Array>(
  files: Files,
  model: OpenModel,
  { path, metadata, types }: CachePlace,
  take: (name: string) => Promise<T>,
  placed: (name: string, data: T) => Promise<void>,
): Promise<number> {
  const names = [...types.keys()].sort();
  const sums = new Uint8Array(names.length * SUM_BYTES);
  let own: unknown;
  const passing = async <R>(work: Promise<R>): Promise<R> => {
    try {
      return await work;
    } catch (error) {
      own = error;
      throw error;
    }
  };
  const kept = keptTensors(model, types);
  const tensors = names.map((name, i): TensorToWrite => {
    const { stored, shape, bytes } = kept.get(name)!;
    const whole = stored === "f32";
    return {
      name,
      dtype: whole ? "f32" : "u8",
      shape: whole ? shape : [bytes],
      async *chunks() {
        const data = await passing(take(name));
        const bytes = asBytes(data);
        sums.set(await sumOf(bytes), i * SUM_BYTES);
        yield bytes;
        await passing(placed(name, data));
      },
    };
  });
  const last: TensorToWrite = { name: SUMS, dtype: "u8", shape: [names.length, SUM_BYTES], chunks: () => [sums] };
  const bytes = [...kept.values()].reduce((sum, tensor) => sum + tensor.bytes, 0);
  try {
    await writeSafetensors(files, path, [...tensors, last], metadata);
  } catch (error) {
    if (error === own || !(error instanceof UserError)) throw error;
    const room = `it takes ${(bytes / 1e9).toFixed(2)} GB`;
    throw new UserError(`${error.message}; base_cache: ${room}; give it a folder with room, or leave it out`, {
      cause: error,
    });
  }
  return bytes;
}

async function sumOf(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>));
}

const messageOf = (error: unknown): string => {
  if (error instanceof UserError) return error.message;
  throw error;
};
