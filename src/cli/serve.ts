import { type HttpServer, serveHttp } from "../node/http-server.js";
import { interruptible } from "../node/signals.js";
import { createAdapterRegistry } from "../recipes/adapter-registry.js";
import { baseIdOf, createServer, LOOPBACK_HOSTS, type RequestLog } from "../server/index.js";
import { nearest } from "../tensor/index.js";
import { type Action, EXIT, type Io, type Options } from "./io.js";
import { namedAdapters, numberOption, usageError, withModel } from "./model-options.js";

export const serve: Action = async (_args, options, io) => {
  const settings = serverSettings(options);
  const adapters = namedAdapters(options);
  return withModel(options, async (model) => {
    const registry = createAdapterRegistry(model);
    const baseId = (options.baseId as string | undefined) ?? baseIdOf(model.name);
    if (adapters.has(baseId)) throw usageError(`--adapter: '${baseId}' is what the base is called; see --base-id`);
    for (const [name, path] of adapters) {
      for (const warning of (await registry.load(name, path)).warnings) io.err(`lowrank: ${warning}\n`);
    }
    const server = createServer(registry, {
      ...settings.guard,
      baseId,
      limits: settings.limits,
      onRequest: options.quiet ? undefined : (log) => io.err(`${JSON.stringify(logLine(log))}\n`),
      onError: (error) => io.err(`lowrank: ${error instanceof Error ? error.stack : String(error)}\n`),
    });
    const http = await serveHttp(server.fetch, settings.address);
    await untilInterrupted(http, [baseId, ...registry.names()], io);
    registry.dispose();
    return EXIT.ok;
  });
};

async function untilInterrupted(http: HttpServer, models: readonly string[], io: Io): Promise<void> {
  const { signal, stop } = interruptible(() => undefined);
  io.out(`listening on ${http.url}/v1, serving ${models.join(", ")}\n`);
  try {
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
  } finally {
    stop();
    await http.close();
  }
}

/** The flags that say where to listen, whom to trust and what to grant. Throws a usage error before anything is loaded. */
function serverSettings(options: Options) {
  const host = options.host as string;
  const apiKey = keyOf(options);
  const loopback = LOOPBACK_HOSTS.includes(host) || host === "::1";
  if (!loopback && apiKey === undefined) {
    throw usageError(
      `--host ${host}: beyond this machine a key is needed; name the variable that holds it: --api-key-env NAME`,
    );
  }
  const own = /^(0\.0\.0\.0|::)$/.test(host) ? [] : [host.includes(":") ? `[${host}]` : host];
  const hosts = [...LOOPBACK_HOSTS, ...own, ...((options.allowHost as readonly string[] | undefined) ?? [])];
  return {
    guard: { apiKey, hosts, origins: options.allowOrigin as readonly string[] | undefined },
    address: { host, port: numberOption(options, "port", { most: 65535, whole: true }) },
    limits: {
      slots: numberOption(options, "slots", { least: 1, most: 256, whole: true }),
      queue: numberOption(options, "queue", { most: 100_000, whole: true }),
      maxTokens: numberOption(options, "maxTokens", { least: 1, whole: true }),
      seconds: numberOption(options, "timeout", { least: 1, most: 86_400 }),
    },
  };
}

function keyOf(options: Options): string | undefined {
  const name = options.apiKeyEnv as string | undefined;
  if (name === undefined) return undefined;
  const key = process.env[name];
  if (key) return key;
  const hint = nearest(name, Object.keys(process.env));
  throw usageError(`--api-key-env: the variable ${name} is not set${hint ? `; did you mean ${hint}?` : ""}`);
}

function logLine({ promptTokens, completionTokens, ...log }: RequestLog): object {
  return { ...log, prompt_tokens: promptTokens, completion_tokens: completionTokens };
}
