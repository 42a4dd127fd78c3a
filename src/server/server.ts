import { type Context, Hono } from "hono";
import type { AdapterRegistry } from "../recipes/adapter-registry.js";
import { random } from "../tensor/index.js";
import { answer, checkModel, type Service, type Usage } from "./answer.js";
import { ApiError, apiError } from "./errors.js";
import { checkCaller, checkKey, type GuardOptions } from "./guard.js";
import { DEFAULT_LIMITS, type ServerLimits } from "./limits.js";
import { createMetrics, type RequestLog } from "./metrics.js";
import { readJson } from "./read-json.js";
import { CHAT, streamedReply, TEXT, wholeReply } from "./replies.js";
import { type Asked, readChatRequest, readCompletionRequest } from "./schema.js";
import { createSlots } from "./slots.js";

export interface ServerOptions extends GuardOptions {
  /** What the bare base is called as a `model`. Default: the last part of the name it was loaded by. */
  readonly baseId?: string;
  readonly limits?: Partial<ServerLimits>;
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

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
type Entry = Mutable<Partial<RequestLog>> & { readonly number: number; end?: (status: number) => void };
type Env = { Variables: { entry: Entry } };

const CLIENT_LEFT = 499;

/**
 * Serves a registry's base and adapters: /v1/models, /v1/chat/completions, /v1/completions and /metrics. Each request names
 * the base or an adapter as its `model`; errors have OpenAI's shape.
 */
export function createServer(registry: AdapterRegistry, options: ServerOptions = {}): Server {
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const now = () => registry.model.platform.now();
  const started = now();
  const seed = options.seed ?? started;
  const baseId = options.baseId ?? baseIdOf(registry.model.name);
  const service: Service = { registry, baseId, slots: createSlots(limits), limits, seed };
  const metrics = createMetrics();
  let count = 0;

  const modelObject = (id: string) => ({
    id,
    object: "model",
    created: Math.floor(started / 1000),
    owned_by: "lowrank",
    parent: id === baseId ? null : baseId,
  });
  const begin = (c: Context<Env>): Entry => {
    const arrived = now();
    const entry: Entry = {
      number: count++,
      time: new Date(arrived).toISOString(),
      method: c.req.method,
      route: "other",
    };
    c.set("entry", entry);
    entry.end = (status) => {
      const { number: _, end: __, ...rest } = entry;
      const log = { ...rest, status, milliseconds: now() - arrived } as RequestLog;
      metrics.record(log);
      options.onRequest?.(log);
      entry.end = undefined;
    };
    return entry;
  };
  const failed = (error: unknown): ApiError => {
    const told = apiError(error);
    if (told.status === 500) options.onError?.(error);
    return told;
  };

  const reply = (read: (body: Record<string, unknown>, limits: ServerLimits) => Asked, shape: typeof CHAT) => {
    return async (c: Context<Env>): Promise<Response> => {
      const entry = c.get("entry");
      const { signal } = c.req.raw;
      const asked = read(await readJson(c.req.raw, limits), limits);
      checkModel(registry, baseId, asked);
      entry.model = asked.model;
      const usage: Usage = { promptTokens: 0, completionTokens: 0 };
      const pieces = answer(service, asked, { number: entry.number, signal, usage });
      const id =
        shape.idPrefix + (random(seed, "id", entry.number).int32() >>> 0).toString(36) + entry.number.toString(36);
      const head = { id, created: Math.floor(now() / 1000), model: asked.model };
      const end = entry.end!;
      const finish = (status: number) => {
        Object.assign(entry, usage);
        end(status);
      };
      if (!asked.stream) {
        try {
          return c.json(await wholeReply(shape, head, pieces, usage));
        } finally {
          Object.assign(entry, usage);
        }
      }
      const stream = await streamedReply(shape, head, asked, pieces, usage, (error) => {
        finish(error === undefined ? 200 : signal.aborted ? CLIENT_LEFT : failed(error).status);
      });
      entry.end = undefined;
      return c.body(stream, 200, { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache" });
    };
  };

  const routes: Readonly<Record<string, (c: Context<Env>) => Response | Promise<Response>>> = {
    "GET /v1/models": (c) =>
      c.json({ object: "list", data: [baseId, ...registry.names()].map((id) => modelObject(id)) }),
    "GET /v1/models/:id{.+}": (c) => {
      const model = c.req.param("id")!;
      checkModel(registry, baseId, { model, adapterScale: undefined });
      return c.json(modelObject(model));
    },
    "POST /v1/chat/completions": reply(readChatRequest, CHAT),
    "POST /v1/completions": reply(readCompletionRequest, TEXT),
    "GET /metrics": (c) => {
      const { active, waiting } = service.slots;
      return c.text(
        metrics.text({
          lowrank_active_requests: active,
          lowrank_waiting_requests: waiting,
          lowrank_adapters: registry.names().length,
        }),
      );
    },
  };

  const app = new Hono<Env>();
  app.use(async (c, next) => {
    const entry = begin(c);
    await next();
    entry.end?.(c.req.raw.signal.aborted ? CLIENT_LEFT : c.res.status);
  });
  app.use(async (c, next) => {
    const headers = checkCaller(c.req.raw, options);
    if (c.req.method === "OPTIONS") return preflight(c, headers);
    checkKey(c.req.raw, options);
    await next();
    for (const [name, value] of Object.entries(headers)) c.header(name, value);
  });
  for (const [name, handle] of Object.entries(routes)) {
    const [method, path] = name.split(" ") as [string, string];
    app.on(method, path, (c) => {
      c.get("entry").route = path.replace(/\{.*/, "");
      return handle(c);
    });
  }
  app.notFound((c) => {
    const error = new ApiError(404, `there is no ${c.req.method} ${c.req.path.slice(0, 200)} here`);
    return c.json(error.body(), 404);
  });
  app.onError((error, c) => {
    const told = failed(error);
    return c.json(told.body(), told.status as 400, told.headers);
  });
  return { fetch: async (request) => app.fetch(request) };
}

function preflight(c: Context, headers: Readonly<Record<string, string>>): Response {
  return c.body(null, 204, {
    ...headers,
    "access-control-allow-methods": "GET, POST",
    "access-control-allow-headers": c.req.header("access-control-request-headers") ?? "",
  });
}

/** A base's id: `owner/name` as it is, of a longer path the last part. */
export function baseIdOf(name: string): string {
  const parts = name.split(/[\\/]/).filter((part) => part !== "" && part !== ".");
  return /^[\w.-]+\/[\w.-]+$/.test(name) && !/\.gguf$/.test(name) ? name : (parts.at(-1) ?? name);
}
