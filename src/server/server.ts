import { type Context, Hono } from "hono";
import type { AdapterRegistry } from "../recipes/adapter-registry.js";
import { random } from "../tensor/index.js";
import type { Usage } from "./answer.js";
import type { Ask } from "./batches/index.js";
import { ApiError, apiError } from "./errors.js";
import type { FineTuning } from "./fine-tuning/index.js";
import { checkCaller, checkKey, type GuardOptions, LOOPBACK_HOSTS } from "./guard.js";
import { DEFAULT_LIMITS, type ServerLimits } from "./limits.js";
import { createMetrics, type RequestLog } from "./metrics.js";
import { CLIENT_LEFT, type Core, type Entry, type Env } from "./route.js";
import { HEALTH, routesOf } from "./routes/index.js";
import { createSlots } from "./slots.js";

export interface ServerOptions extends GuardOptions {
  /** What the bare base is called as a `model`. Default: the last part of the name it was loaded by. */
  readonly baseId?: string;
  /** Bounds of what clients may ask for. Default: `DEFAULT_LIMITS`. */
  readonly limits?: Partial<ServerLimits>;
  /** Serves /v1/files and /v1/fine_tuning/jobs too. Default: they are not served. */
  readonly fineTuning?: FineTuning;
  /** Requests without a seed draw theirs from this one. Default: the time of the start. */
  readonly seed?: number;
  /** Told of every request when it is over. It never sees what a request says. */
  readonly onRequest?: (log: RequestLog) => void;
  /** Told of errors that are not the client's. */
  readonly onError?: (error: unknown) => void;
}

/** An OpenAI-compatible server as a function from request to response, for any runtime. */
export interface Server {
  fetch(request: Request): Promise<Response>;
}

/** Bytes of a base that a server holds twice: up to here the rate of many texts is worth more than memory. */
const SECOND_COPY = 2 ** 30;

/**
 * Serves a registry's base and adapters at the routes of `routes/`. Each request names the base or an adapter as its `model`;
 * errors have OpenAI's shape.
 */
export function createServer(registry: AdapterRegistry, options: ServerOptions = {}): Server {
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const now = () => registry.model.platform.now();
  const started = now();
  registry.model.decoder.leastRows = 2;
  registry.model.decoder.secondCopy = SECOND_COPY;
  registry.model.decoder.prefixes.most = limits.prefixBytes;
  const baseId = options.baseId ?? baseIdOf(registry.model.name);
  const large = createSlots({ slots: 1, queue: limits.queue });
  const service = { registry, baseId, slots: createSlots(limits), large, limits, seed: options.seed ?? started };
  const failed = (error: unknown): ApiError => {
    const told = apiError(error);
    if (told.status === 500) options.onError?.(error);
    return told;
  };
  const { fineTuning } = options;
  const core: Core = { service, metrics: createMetrics(), fineTuning, started, now, failed };
  const app = new Hono<Env>();
  let count = 0;
  app.use(async (c, next) => {
    const entry = beginEntry(core, count++, c.req, options.onRequest);
    c.set("entry", entry);
    await next();
    c.header("x-request-id", entry.id);
    if (c.req.method === "HEAD") await c.res.body?.cancel(); // nobody will read it
    if (!entry.streaming) entry.end(c.req.raw.signal.aborted ? CLIENT_LEFT : c.res.status);
  });
  app.use(async (c, next) => {
    const headers = checkCaller(c.req.raw, options);
    if (c.req.method === "OPTIONS") return preflight(c, headers);
    if (c.req.path !== HEALTH) checkKey(c.req.raw, options);
    await next();
    for (const [name, value] of Object.entries(headers)) c.header(name, value);
  });
  const methods = new Map<string, string[]>();
  for (const [name, { handle }] of Object.entries(routesOf(core))) {
    const [method, path] = name.split(" ") as [string, string];
    methods.set(path, [...(methods.get(path) ?? []), ...(method === "GET" ? ["GET", "HEAD"] : [method])]);
    app.on(method, path, (c) => {
      c.get("entry").route = path.replace(/\{.*/, "");
      return handle(c);
    });
  }
  for (const [path, allowed] of methods) app.all(path, (c) => wrongMethod(c, allowed));
  app.notFound((c) => {
    const error = new ApiError(404, `there is no ${c.req.method} ${c.req.path.slice(0, 200)} here`, {
      code: "unknown_url",
    });
    return c.json(error.body(), 404);
  });
  app.onError((error, c) => {
    if (c.req.raw.signal.aborted) return c.body(null, CLIENT_LEFT as 400);
    const told = failed(error);
    return c.json(told.body(), told.status as 400, told.headers);
  });
  const fetch = async (request: Request) => app.fetch(request);
  fineTuning?.batches.begin(askingItself(fetch, options), limits);
  return { fetch };
}

/** Requests of batches come as those of a client on this machine, key and all. */
function askingItself(fetch: Server["fetch"], { apiKey, hosts = LOOPBACK_HOSTS }: GuardOptions): Ask {
  const headers = {
    "content-type": "application/json",
    ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }),
  };
  return (path, body, signal) => {
    const request = new Request(`http://${hosts[0]}${path}`, { method: "POST", headers, body });
    return fetch(Object.defineProperty(request, "signal", { value: signal })); // as `serveHttp` does, for Node 20
  };
}

function wrongMethod(c: Context, allowed: readonly string[]): never {
  const [list, path] = [allowed.join(", "), c.req.path.slice(0, 200)];
  throw new ApiError(405, `${c.req.method} is not what ${path} answers; it answers ${list}`, {
    code: "method_not_supported",
    headers: { allow: list },
  });
}

/** An id that may stand in a header and in a log. */
const PLAIN_ID = /^[\w.:/+=-]{1,128}$/;

function beginEntry(
  { metrics, now, service }: Core,
  number: number,
  request: Context["req"],
  onRequest: ((log: RequestLog) => void) | undefined,
): Entry {
  const arrived = now();
  const usage: Usage = { promptTokens: 0, completionTokens: 0 };
  const given = request.header("x-request-id");
  const own = () =>
    `req-${(random(service.seed, "request id", number).int32() >>> 0).toString(36)}${number.toString(36)}`;
  const id = given !== undefined && PLAIN_ID.test(given) ? given : own();
  return {
    number,
    id,
    route: "other",
    usage,
    streaming: false,
    end(status) {
      const time = new Date(arrived).toISOString();
      const { promptTokens, completionTokens, firstAt, answers } = usage;
      const first = firstAt === undefined ? {} : { millisecondsToFirst: firstAt - arrived, answers };
      const made = this.model === undefined ? {} : { model: this.model, promptTokens, completionTokens, ...first };
      const log = {
        time,
        id,
        method: request.method,
        route: this.route,
        status,
        milliseconds: now() - arrived,
        ...made,
      };
      metrics.record(log);
      onRequest?.(log);
    },
  };
}

function preflight(c: Context, headers: Readonly<Record<string, string>>): Response {
  return c.body(null, 204, {
    ...headers,
    "access-control-allow-methods": "GET, POST, DELETE",
    "access-control-allow-headers": c.req.header("access-control-request-headers") ?? "",
  });
}

/** A base's id: `owner/name` as it is, of a longer path the last part. */
export function baseIdOf(name: string): string {
  const parts = name.split(/[\\/]/).filter((part) => part !== "" && part !== ".");
  return /^[\w.-]+\/[\w.-]+$/.test(name) && !/\.gguf$/.test(name) ? name : (parts.at(-1) ?? name);
}
