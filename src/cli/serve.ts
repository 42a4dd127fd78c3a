import { refuseOpenDoor, type ServeOptions, serve as serveModel } from "../node/serve.js";
import { interruptible } from "../node/signals.js";
import { baseIdOf, type RequestLog } from "../server/index.js";
import { nearest } from "../tensor/index.js";
import { loadConfig } from "./configs.js";
import { type Action, EXIT, type Io, type Options } from "./io.js";
import { namedAdapters, withModel } from "./model-options.js";
import { numberOption } from "./option-values.js";
import { usageError } from "./usage.js";

export const serve: Action = async (_args, options, io) => {
  const adapters = namedAdapters(options);
  const baseId = (options.baseId as string | undefined) ?? baseIdOf(options.base as string);
  if (adapters.has(baseId)) throw usageError(`--adapter: '${baseId}' is what the base is called; see --base-id`);
  const settings = { ...doorOf(options), ...(await jobSettings(options)), limits: limitsOf(options) };
  return withModel(options, io, async (model) => {
    const { signal, stop } = interruptible(() => undefined);
    try {
      const server = await serveModel(model, {
        ...settings,
        ...reports(options, io),
        baseId,
        adapters: Object.fromEntries(adapters),
        reloadSeconds: numberOption(options, "reload", { most: 86_400 }),
      });
      io.out(`listening on ${server.url}/v1, serving ${[baseId, ...server.registry.names()].join(", ")}\n`);
      await aborted(signal);
      await server.close();
      return EXIT.ok;
    } finally {
      stop();
    }
  });
};

/** Waits until a signal is aborted. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve());
  });
}

/** Where requests, notes and errors are written. */
export function reports(options: Options, io: Io): Pick<ServeOptions, "onRequest" | "onError" | "onNote"> {
  return {
    ...(options.quiet ? {} : { onRequest: (log) => io.err(`${JSON.stringify(logLine(log))}\n`) }),
    onError: (error) => io.err(`lowrank: ${error instanceof Error ? error.stack : String(error)}\n`),
    onNote: (message) => io.err(`lowrank: ${message}\n`),
  };
}

/** The flags that say where to listen and whom to trust. Throws a usage error before anything is loaded. */
function doorOf(options: Options): Pick<ServeOptions, "host" | "port" | "apiKey" | "hosts" | "origins"> {
  const host = options.host as string;
  const apiKey = keyOf(options);
  try {
    refuseOpenDoor(host, apiKey);
  } catch {
    const how = "name the variable that holds it: --api-key-env NAME";
    throw usageError(`--host ${host}: beyond this machine a key is needed; ${how}`);
  }
  return {
    host,
    port: portOf(options),
    ...(apiKey === undefined ? {} : { apiKey }),
    hosts: options.allowHost as readonly string[] | undefined,
    origins: options.allowOrigin as readonly string[] | undefined,
  };
}

export function portOf(options: Options): number {
  return numberOption(options, "port", { most: 65535, whole: true });
}

function limitsOf(options: Options): ServeOptions["limits"] {
  return {
    slots: numberOption(options, "slots", { least: 1, most: 256, whole: true }),
    queue: numberOption(options, "queue", { most: 100_000, whole: true }),
    prefixBytes: numberOption(options, "prefixCache", { whole: true }) * 2 ** 20,
    maxTokens: numberOption(options, "maxTokens", { least: 1, whole: true }),
    seconds: numberOption(options, "timeout", { least: 1, most: 86_400 }),
  };
}

/** --data-dir and --job-config: with the first, clients may fine-tune. */
async function jobSettings(options: Options): Promise<Pick<ServeOptions, "fineTuning">> {
  const { dataDir, jobConfig } = options as { dataDir?: string; jobConfig?: string };
  if (dataDir === undefined) {
    if (jobConfig !== undefined) throw usageError("--job-config: jobs need a --data-dir too");
    return {};
  }
  if (jobConfig === undefined) return { fineTuning: { dataDir } };
  // What a job says itself stands in for the keys that a config cannot be without.
  const config = await loadConfig(jobConfig, [`base=${options.base}`, "data.train=-"]);
  return { fineTuning: { dataDir, config } };
}

function keyOf(options: Options): string | undefined {
  const name = options.apiKeyEnv as string | undefined;
  if (name === undefined) return undefined;
  const key = process.env[name];
  if (key) return key;
  const hint = nearest(name, Object.keys(process.env));
  throw usageError(`--api-key-env: the variable ${name} is not set${hint ? `; did you mean ${hint}?` : ""}`);
}

function logLine({ id, promptTokens, completionTokens, millisecondsToFirst, answers: _, ...log }: RequestLog): object {
  return {
    ...log,
    milliseconds_to_first: millisecondsToFirst,
    request_id: id,
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
  };
}
