import { nearest, UserError } from "../tensor/index.js";
import { applyAdapter, type LoadedAdapter, type LoadedModel, refuseOtherScale } from "./model.js";
import { refuseStages } from "./model-stages.js";

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
  /** Frees what is not in use, and what was kept of texts; the rest goes with its last lease. */
  dispose(): void;
}

/** One loaded folder. Its tensors serve every scale. */
interface Entry {
  readonly loaded: LoadedAdapter;
  users: number;
  factor: number;
  gone: boolean;
}

/** A registry without adapters. Throws UserError for a model that ranks hold together. */
export function createAdapterRegistry(model: LoadedModel): AdapterRegistry {
  refuseStages(model, "several texts at a time are answered by all of it");
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
    refuseOtherScale(loaded, factor);
    remove(name);
    entries.set(name, { loaded, users: 0, factor, gone: false });
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
      entry.factor = checkedFactor(factor, entry);
    },
    lease(name, factor) {
      const entry = find(name);
      const at = factor === undefined ? entry.factor : checkedFactor(factor, entry);
      entry.users++;
      let held = true;
      return {
        adapter: { ...entry.loaded, resident: { ...entry.loaded.resident, factor: at } },
        release() {
          if (held) entry.users--;
          held = false;
          tidy(entry);
        },
      };
    },
    dispose() {
      for (const name of [...entries.keys()]) remove(name);
      model.decoder.prefixes.clear();
    },
  };
}

/** Frees what was unloaded and nobody uses. */
function tidy(entry: Entry): void {
  if (entry.gone && entry.users === 0) entry.loaded.dispose();
}

function checkedFactor(factor: number, { loaded }: Entry): number {
  refuseOtherScale(loaded, factor);
  if (Number.isFinite(factor) && Math.abs(factor) <= 100) return factor;
  throw new UserError(`adapter scale: expected a number from -100 to 100, got ${factor}`);
}
