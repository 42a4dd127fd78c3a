import { type AdapterRegistry, createAdapterRegistry } from "../recipes/adapter-registry.js";
import type { LoadedModel } from "../recipes/model.js";
import {
  baseIdOf,
  createServer,
  type FineTuningOptions,
  LOOPBACK_HOSTS,
  openFineTuning,
  type ServerOptions,
  watchAdapters,
} from "../server/index.js";
import { UserError } from "../tensor/index.js";
import { type HttpServerOptions, serveHttp } from "./http-server.js";

export interface ServeOptions extends Omit<ServerOptions, "fineTuning">, HttpServerOptions {
  /** Adapter folders by the names that clients call them. Default: none, the base alone. */
  readonly adapters?: Readonly<Record<string, string>>;
  /** Seconds between looks for changed adapter folders; 0: never. Default 1. */
  readonly reloadSeconds?: number;
  /** Serves the fine-tuning API, its files kept in `dataDir`. Default: it is not served. */
  readonly fineTuning?: Omit<FineTuningOptions, "baseId" | "onError" | "onNote">;
  /** Told what is worth knowing: an adapter of another base, one that was loaded anew. */
  readonly onNote?: (message: string) => void;
}

/** A server that runs. */
export interface Serving {
  /** `http://host:port` as it listens; OpenAI's API is under `/v1`. */
  readonly url: string;
  readonly port: number;
  readonly baseId: string;
  readonly registry: AdapterRegistry;
  /** Drops every connection, stops the job in progress at its next step, and unloads the adapters. The model stays. */
  close(): Promise<void>;
}

/**
 * Serves a loaded model over HTTP. Throws UserError when an adapter or the data folder cannot be had, the address is in use, or
 * `host` is beyond this machine and no `apiKey` is given.
 */
export async function serve(model: LoadedModel, options: ServeOptions = {}): Promise<Serving> {
  const { host = "127.0.0.1", adapters = {}, onNote = () => undefined, onError = () => undefined } = options;
  refuseOpenDoor(host, options.apiKey);
  const baseId = options.baseId ?? baseIdOf(model.name);
  const registry = createAdapterRegistry(model);
  const cleanup: (() => unknown)[] = [() => registry.dispose()];
  const close = async () => {
    for (const action of cleanup.splice(0).reverse()) await action();
  };
  try {
    for (const [name, path] of Object.entries(adapters)) {
      if (name === baseId) throw new UserError(`adapters: '${name}' is what the base is called; take another name`);
      for (const warning of (await registry.load(name, path)).warnings) onNote(warning);
    }
    const tuning =
      options.fineTuning && (await openFineTuning(registry, { ...options.fineTuning, baseId, onError, onNote }));
    if (tuning) cleanup.push(() => tuning.close());
    const hosts = [...LOOPBACK_HOSTS, ...ownName(host), ...(options.hosts ?? [])];
    const server = createServer(registry, {
      ...options,
      hosts,
      baseId,
      ...(tuning ? { fineTuning: tuning } : { fineTuning: undefined }),
    });
    const { reloadSeconds = 1 } = options;
    if (reloadSeconds > 0) {
      const onReload = (name: string, warnings: readonly string[]) => {
        for (const message of [`${name}: its folder changed; loaded anew`, ...warnings]) onNote(message);
      };
      const watch = watchAdapters(registry, {
        seconds: reloadSeconds,
        only: (name) => !name.startsWith("ft:"), // what jobs make does not change
        onReload,
        onError: (error) => onNote(reasonOf(error)),
      });
      cleanup.push(() => watch.close());
    }
    const http = await serveHttp(server.fetch, { ...options, host });
    cleanup.push(() => http.close());
    return { url: http.url, port: http.port, baseId, registry, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Throws UserError for an address beyond this machine without a key. */
export function refuseOpenDoor(host: string, apiKey: string | undefined): void {
  if (LOOPBACK_HOSTS.includes(host) || host === "::1" || apiKey !== undefined) return;
  throw new UserError(`host ${host}: beyond this machine a key is needed; give the server an API key`);
}

/** The Host header that clients of an address send; of "every address" none is known. */
function ownName(host: string): string[] {
  return /^(0\.0\.0\.0|::)$/.test(host) ? [] : [host.includes(":") ? `[${host}]` : host];
}

function reasonOf(error: unknown): string {
  return error instanceof UserError ? error.message : String(error instanceof Error ? error.stack : error);
}
