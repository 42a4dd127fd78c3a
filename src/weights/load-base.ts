import { join, UNFINISHED } from "../formats/files.js";
import type { Platform } from "../platform/platform.js";
import type { Device } from "../runtime/index.js";
import { UserError } from "../tensor/index.js";
import { type CachePlace, cachePlace, openCached, refuseIdleCache, writeCache } from "./base-cache.js";
import { heldAs } from "./base-precision.js";
import { counted, type Loading } from "./counted.js";
import { type LoadWeightsOptions, loadWeights, type ResidentModel, weightLoader } from "./load-model.js";
import type { OpenModel } from "./model-folder.js";

export interface LoadBaseOptions extends LoadWeightsOptions {
  /** Keep the base on the disk as it is held: beside its weights, or in a folder. Default false. */
  readonly baseCache?: boolean | string;
  /** Told how much has been read. */
  readonly onProgress?: (loading: Loading) => void;
  /** Told what is worth a word about the cache. */
  readonly onNote?: (message: string) => void;
}

/**
 * `loadWeights`, by way of the disk where asked: a base that was kept there is read as it is held; one that is not, that belongs to
 * other files or that is damaged is made, and kept for the next run. A folder that cannot be written to is a note. Throws UserError
 * when the disk is full.
 */
export async function loadBase(
  platform: Platform,
  device: Device,
  model: OpenModel,
  options: LoadBaseOptions,
): Promise<ResidentModel> {
  const { baseCache = false, basePrecision = "f32", bnb4bitUseDoubleQuant, onProgress, onNote } = options;
  refuseIdleCache(baseCache, basePrecision);
  const load = () => loadWeights(device, counted(model, onProgress, options.reads), options);
  if (baseCache === false) return load();
  const note = (message: string) => onNote?.(message);
  const place = await cachePlace(platform.files, model, heldAs(basePrecision, "f32", bnb4bitUseDoubleQuant), baseCache);
  const kept = await fromCache(platform, device, model, place, options);
  if (typeof kept === "object") return kept;
  if (kept) note(`${kept}: the base is made again from the model's files`);
  const unlock = await locked(platform, place.folder, note);
  if (!unlock) return load();
  try {
    await sweep(platform, place.folder);
    const loader = weightLoader(device, counted(model, onProgress), options);
    const bytes = await writeCache(platform.files, model, place, loader.read, loader.put);
    note(
      `base_cache: ${place.path} keeps the base for the next run (${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB)`,
    );
    return loader.done();
  } finally {
    await unlock();
  }
}

/** The base as it was kept, or why it cannot be used; undefined when there is none. */
async function fromCache(
  { files }: Platform,
  device: Device,
  model: OpenModel,
  place: CachePlace,
  { onProgress }: LoadBaseOptions,
): Promise<ResidentModel | string | undefined> {
  const cached = await openCached(files, model, place);
  if (typeof cached !== "object") return cached;
  const loader = weightLoader(device, counted(cached, onProgress), { basePrecision: "native" });
  try {
    for (const name of loader.types.keys()) await loader.put(name, await loader.read(name));
    return await loader.done();
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    await loader.undo();
    return error.message;
  } finally {
    await cached.close();
  }
}

/** Takes the folder, so that no two runs write there at a time. Undefined, and a note, when it cannot be had. */
async function locked(platform: Platform, folder: string, note: (message: string) => void) {
  try {
    return await platform.lock(folder);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    const reason = error.cause
      ? `${error.message}; name a folder that can be written to: base_cache=FOLDER`
      : `another run is writing to ${folder}`;
    note(`base_cache: the base is not kept: ${reason}`);
    return undefined;
  }
}

/** Removes what a run that was killed while writing left there. */
async function sweep({ files }: Platform, folder: string): Promise<void> {
  for (const name of await files.list(folder)) if (name.endsWith(UNFINISHED)) await files.remove(join(folder, name));
}
