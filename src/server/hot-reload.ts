import { folderVersion } from "../formats/files.js";
import type { AdapterRegistry } from "../recipes/adapter-registry.js";
import { applyAdapter } from "../recipes/model.js";

export interface HotReloadOptions {
  /** Seconds between looks at the folders. Default 1. */
  readonly seconds?: number;
  /** Names whose folders are looked at. Default: all. */
  readonly only?: (name: string) => boolean;
  /** Told the name and what is worth knowing of an adapter that was loaded anew. */
  readonly onReload?: (name: string, warnings: readonly string[]) => void;
  /** Told, once a version, of a folder that cannot be loaded; what was loaded before stays. */
  readonly onError?: (error: unknown) => void;
}

export interface HotReload {
  /** Looks at every folder once. */
  check(): Promise<void>;
  close(): void;
}

/**
 * Loads adapters anew when their folders change. A folder has to be as it was for two looks and to stay so while it is read, so
 * that nothing half-written is ever loaded; one that is gone changes nothing. Texts that have begun keep the adapter they began
 * with.
 */
export function watchAdapters(
  registry: AdapterRegistry,
  { seconds = 1, only = () => true, onReload = () => undefined, onError = () => undefined }: HotReloadOptions = {},
): HotReload {
  const { files } = registry.model.platform;
  /** The version that was seen last, by name, where it is not the loaded one; and the one that could not be loaded. */
  const seen = new Map<string, string>();
  const refused = new Map<string, string>();

  const look = async (name: string): Promise<void> => {
    const { path, version } = registry.loaded(name);
    const now = await folderVersion(files, path);
    if (now === undefined || now === version || now === refused.get(name)) return void seen.delete(name);
    if (seen.get(name) !== now) return void seen.set(name, now);
    seen.delete(name);
    try {
      const loaded = await applyAdapter(registry.model, path);
      const settled = loaded.version === now && (await folderVersion(files, path)) === now;
      if (!settled || !registry.names().includes(name) || registry.loaded(name).path !== path) return loaded.dispose();
      registry.put(name, loaded);
      refused.delete(name);
      onReload(name, loaded.warnings);
    } catch (error) {
      if ((await folderVersion(files, path)) !== now) return; // it was written to meanwhile: the next look tells more
      refused.set(name, now);
      onError(error);
    }
  };

  const check = async () => {
    for (const name of registry.names().filter(only)) if (registry.names().includes(name)) await look(name);
    for (const map of [seen, refused])
      for (const name of map.keys()) if (!registry.names().includes(name)) map.delete(name);
  };
  let closed = false;
  let timer: ReturnType<typeof setTimeout>;
  const tick = async () => {
    await check().catch(onError);
    if (!closed) timer = setTimeout(tick, seconds * 1000);
  };
  timer = setTimeout(tick, seconds * 1000);
  return {
    check,
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}
