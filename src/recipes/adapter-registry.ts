import { type Device, tensor, type View } from "../runtime/index.js";
import { nearest, UserError } from "../tensor/index.js";
import { applyAdapter, type LoadedAdapter, type LoadedModel } from "./model.js";

/** An adapter in use: its memory stays until `release` is called, whatever becomes of its name meanwhile. */
export interface AdapterLease {
  readonly adapter: LoadedAdapter;
  release(): void;
}

/**
 * Named adapters over one resident base, loaded, scaled and unloaded while others generate. What is in use is never changed:
 * a text that has begun ends with the tensors it began with, so its KV cache always belongs to them.
 */
export interface AdapterRegistry {
  readonly model: LoadedModel;
  names(): string[];
  /**
   * Loads a PEFT folder under a name; texts that begin from now on use it, also when the name was taken before: its scale stays. Throws
   * UserError when the folder is damaged or does not fit the base; then nothing has changed.
   */
  load(name: string, path: string): Promise<LoadedAdapter>;
  /** As `load`, with an adapter that was loaded already and is the registry's from now on. */
  put(name: string, loaded: LoadedAdapter): void;
  /** What is loaded under a name. Throws UserError for an unknown name. */
  loaded(name: string): LoadedAdapter;
  /** Forgets a name; memory is freed when its last text ends. Throws UserError for an unknown name. */
  unload(name: string): void;
  /** Multiplies the adapter's effect: 1 as trained, 0 the bare base. Throws UserError for an unknown name. */
  scale(name: string, factor: number): void;
  /** Takes an adapter for one text, at its own scale unless told. Throws UserError for an unknown name. */
  lease(name: string, factor?: number): AdapterLease;
  /** Frees what is not in use; the rest goes with its last lease. */
  dispose(): void;
}

/** One loaded folder: its tensors at scale 1, and at other scales while these are wanted. */
interface Entry {
  readonly loaded: LoadedAdapter;
  readonly variants: Map<number, { readonly adapter: LoadedAdapter; users: number }>;
  factor: number;
  gone: boolean;
}

/** A registry without adapters. */
export function createAdapterRegistry(model: LoadedModel): AdapterRegistry {
  const entries = new Map<string, Entry>();
  const find = (name: string): Entry => {
    const entry = entries.get(name);
    if (entry) return entry;
    const hint = nearest(name, entries.keys());
    const known = entries.size > 0 ? `loaded are ${[...entries.keys()].join(", ")}` : "none is loaded";
    throw new UserError(`adapter: '${name}' is not loaded; ${known}${hint ? `. Did you mean '${hint}'?` : ""}`);
  };
  const remove = (name: string) => {
    const entry = entries.get(name);
    entries.delete(name);
    if (entry) {
      entry.gone = true;
      tidy(entry);
    }
  };
  const put = (name: string, loaded: LoadedAdapter) => {
    const factor = entries.get(name)?.factor ?? 1;
    remove(name);
    const variants = new Map([[1, { adapter: loaded, users: 0 }]]);
    entries.set(name, { loaded, variants, factor, gone: false });
  };
  return {
    model,
    names: () => [...entries.keys()],
    async load(name, path) {
      const loaded = await applyAdapter(model, path);
      put(name, loaded);
      return loaded;
    },
    put,
    loaded: (name) => find(name).loaded,
    unload(name) {
      find(name);
      remove(name);
    },
    scale(name, factor) {
      const entry = find(name);
      entry.factor = checkedFactor(factor);
      tidy(entry);
    },
    lease(name, factor) {
      const entry = find(name);
      const at = factor === undefined ? entry.factor : checkedFactor(factor);
      let variant = entry.variants.get(at);
      if (!variant) {
        variant = { adapter: scaled(model.resident.device, entry.loaded, at), users: 0 };
        entry.variants.set(at, variant);
      }
      const taken = variant;
      taken.users++;
      let held = true;
      return {
        adapter: taken.adapter,
        release() {
          if (held) taken.users--;
          held = false;
          tidy(entry);
        },
      };
    },
    dispose() {
      for (const name of [...entries.keys()]) remove(name);
    },
  };
}

/** Frees the variants nobody uses. Scale 1 holds every A and stays until all others are gone. */
function tidy(entry: Entry): void {
  for (const [factor, { adapter, users }] of entry.variants) {
    const wanted = factor === 1 || (!entry.gone && factor === entry.factor);
    if (users > 0 || wanted) continue;
    adapter.dispose();
    entry.variants.delete(factor);
  }
  const last = entry.variants.get(1);
  if (!entry.gone || entry.variants.size > 1 || !last || last.users > 0) return;
  last.adapter.dispose();
  entry.variants.clear();
}

/** The adapter with every B multiplied; A and everything else are shared. */
function scaled(device: Device, loaded: LoadedAdapter, factor: number): LoadedAdapter {
  const own: View[] = [];
  const tensors = new Map(loaded.resident.tensors);
  for (const [name, { shape, data }] of loaded.adapter.tensors) {
    if (!name.endsWith(".lora_B.weight")) continue;
    const view = tensor(device, "f32", shape);
    device.upload(
      view,
      (data as Float32Array).map((x) => x * factor),
    );
    own.push(view);
    tensors.set(name, view);
  }
  return {
    ...loaded,
    resident: { config: loaded.resident.config, tensors },
    dispose() {
      for (const { buffer } of own) device.free(buffer);
    },
  };
}

function checkedFactor(factor: number): number {
  if (Number.isFinite(factor) && Math.abs(factor) <= 100) return factor;
  throw new UserError(`adapter scale: expected a number from -100 to 100, got ${factor}`);
}
