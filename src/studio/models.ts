import { folderVersion } from "../formats/files.js";
import type { Platform } from "../platform/platform.js";
import { type AdapterRegistry, createAdapterRegistry } from "../recipes/adapter-registry.js";
import type { TrainConfig } from "../recipes/config-schema.js";
import { type LoadedAdapter, type LoadedModel, loadModel } from "../recipes/model.js";
import { UserError } from "../tensor/index.js";

/** How a model is held, where nothing else is asked for. */
const USUAL = {
  basePrecision: "f32",
  bnb4bitUseDoubleQuant: false,
  device: "auto",
  threads: 0,
  precision: "f32",
} as const;

/** How a model is to be held. What is left out may be as it is. */
export type Wanted = Pick<TrainConfig, "base"> & Partial<Pick<TrainConfig, keyof typeof USUAL | "baseCache">>;

/** A model that stays in memory until `release` is called. */
export interface ModelLease {
  readonly model: LoadedModel;
  /** An adapter's folder beside it, as it is on the disk now. */
  adapter(folder: string): Promise<LoadedAdapter>;
  release(): void;
}

/** The one model that the studio holds: what compares, trains and serves shares its weights. */
export interface Models {
  /** Takes the model, which is loaded where another one is held. Throws UserError while that one is in use. */
  lease(wanted: Wanted, onProgress?: (done: number, total: number) => void): Promise<ModelLease>;
  /** Frees what nobody uses. */
  free(): Promise<void>;
  /** Whether a run, an answer or a server uses the base at this path, or in this folder. */
  uses(path: string): boolean;
  close(): Promise<void>;
}

interface Held {
  /** How it is held, every key of `USUAL` among it. */
  readonly wanted: Wanted;
  readonly model: LoadedModel;
  readonly registry: AdapterRegistry;
  users: number;
}

export function createModels(platform: Platform): Models {
  let held: Held | undefined;
  let last: Promise<unknown> = Promise.resolve();
  /** One load or disposal after the other. */
  const inTurn = <T>(act: () => Promise<T>): Promise<T> => {
    const mine = last.then(act);
    last = mine.catch(() => undefined);
    return mine;
  };
  const drop = async (): Promise<void> => {
    const old = held;
    held = undefined;
    old?.registry.dispose();
    await old?.model.dispose();
  };
  const open = async (wanted: Wanted, onProgress?: (done: number, total: number) => void): Promise<Held> => {
    if (held && fits(held.wanted, wanted)) return held;
    if (held && held.users > 0)
      throw new UserError(
        `${held.wanted.base} is in use by a run, an answer or a server: stop it before ${wanted.base} is loaded` +
          (held.wanted.base === wanted.base ? " in another way" : ""),
      );
    await drop();
    const model = await loadModel(wanted.base, platform, {
      ...wanted,
      ...(onProgress ? { onProgress: ({ bytes, totalBytes }) => onProgress(bytes, totalBytes) } : {}),
    });
    model.decoder.leastRows = 2; // no answer depends on which others are made beside it
    held = { wanted: { ...USUAL, ...wanted }, model, registry: createAdapterRegistry(model), users: 0 };
    return held;
  };
  return {
    lease: (wanted, onProgress) =>
      inTurn(async () => {
        const own = await open(wanted, onProgress);
        own.users++;
        let isHeld = true;
        return {
          model: own.model,
          adapter: (folder) => adapterOf(own, folder),
          release() {
            if (isHeld) own.users--;
            isHeld = false;
          },
        };
      }),
    free: () => inTurn(async () => (held?.users === 0 ? drop() : undefined)),
    uses: (path) => held !== undefined && held.users > 0 && `${held.wanted.base}/`.startsWith(`${path}/`),
    close: () => inTurn(drop),
  };
}

/** Whether a model that is held so will do. */
function fits(held: Wanted, wanted: Wanted): boolean {
  const keys = ["base", ...(Object.keys(USUAL) as (keyof typeof USUAL)[])] as const;
  return keys.every((key) => wanted[key] === undefined || held[key] === wanted[key]);
}

/** A folder's adapter; one that was written to since it was loaded is loaded anew. */
async function adapterOf({ registry, model }: Held, folder: string): Promise<LoadedAdapter> {
  if (registry.names().includes(folder)) {
    const loaded = registry.loaded(folder);
    if (loaded.version === (await folderVersion(model.platform.files, loaded.path))) return loaded;
  }
  return registry.load(folder, folder);
}
