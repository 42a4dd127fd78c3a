import { type Context, Hono } from "hono";
import { ApiError, apiError } from "../server/errors.js";
import { checkCaller, checkKey, type GuardOptions } from "../server/guard.js";
import { DEFAULT_LIMITS } from "../server/limits.js";
import { readJson } from "../server/read-json.js";
import { PAGE_HEADERS } from "./page-headers.js";
import type { Studio } from "./studio.js";

/** A file of the page, built ahead. */
export interface PageFile {
  readonly bytes: Uint8Array;
  readonly type: string;
  /** Its name changes with its content, so browsers may keep it. */
  readonly lasting: boolean;
}

export interface StudioServerOptions {
  /** A file of the page by its path ("/index.html"); undefined where there is none. */
  page(path: string): Promise<PageFile | undefined>;
  /** Told when the token of an address was used: the next one. */
  onToken(token: string): void;
  /** Told of errors that are no user's. */
  onError(error: unknown): void;
  /** Names that the page may be opened by. Default: this machine's loopback addresses. */
  readonly hosts?: GuardOptions["hosts"];
}

/** The studio over HTTP. */
export interface StudioServer {
  /** The token of the first address. */
  readonly token: string;
  fetch(request: Request): Promise<Response>;
}

/** Routes are below this path. */
const API = "/v1/lowrank";

/** Bytes of a file of rows that is taken. */
const MOST_UPLOAD = 2 ** 32;

/**
 * Serves the studio's page and, to whoever came by an address with its token, its routes. The token is good once: it is traded for the
 * key that every route asks for.
 */
export function createStudioServer(studio: Studio, options: StudioServerOptions): StudioServer {
  const apiKey = secret();
  let token = secret();
  const first = token;
  const app = new Hono();
  app.use(async (c, next) => {
    checkCaller(c.req.raw, options);
    await next();
    for (const [name, value] of Object.entries(PAGE_HEADERS)) c.header(name, value);
  });
  app.post(`${API}/session`, async (c) => {
    const { token: given } = await readJson(c.req.raw, DEFAULT_LIMITS);
    checkKey(withKey(c.req.raw, String(given)), { apiKey: token });
    token = secret();
    options.onToken(token);
    return c.json({ key: apiKey });
  });
  app.use(`${API}/*`, async (c, next) => {
    checkKey(c.req.raw, { apiKey });
    await next();
  });
  app.post(`${API}/upload`, async (c) => {
    const { name = "" } = c.req.query();
    if (name === "") throw new ApiError(400, "name: is missing; expected the file's name", { param: "name" });
    return c.json(await studio.upload(name, bytesOf(c.req.raw, MOST_UPLOAD)));
  });
  app.post(`${API}/:name`, async (c) => {
    const name = c.req.param("name");
    const request = await readJson(c.req.raw, DEFAULT_LIMITS);
    const { signal } = c.req.raw;
    if (!studio.streams(name)) return c.json((await studio.call(name, request, signal)) as object);
    return streamed(c, studio.stream(name, request, signal), (error) => told(error, c.req.raw).body());
  });
  app.get("*", async (c) => {
    const file = await options.page(c.req.path === "/" ? "/index.html" : c.req.path);
    if (!file) throw new ApiError(404, `there is no ${c.req.path.slice(0, 200)} here`, { code: "unknown_url" });
    const cache = file.lasting ? "public, max-age=31536000, immutable" : "no-cache";
    return c.body(file.bytes as Uint8Array<ArrayBuffer>, 200, { "content-type": file.type, "cache-control": cache });
  });
  app.notFound(() => {
    throw new ApiError(405, `expected GET of a page, or POST of ${API}/NAME`, { code: "method_not_supported" });
  });
  const told = (error: unknown, { signal }: Request): ApiError => {
    const known = apiError(error);
    if (known.status === 500 && !signal.aborted) options.onError(error); // whoever left ends the work with an error
    return known;
  };
  app.onError((error, c) => {
    const known = told(error, c.req.raw);
    return c.json(known.body(), known.status as 400, { ...PAGE_HEADERS, ...known.headers });
  });
  return { token: first, fetch: async (request) => app.fetch(request) };
}

/** 128 bits that nobody can guess, as text. */
function secret(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const withKey = ({ url }: Request, key: string): Request =>
  new Request(url, { headers: { authorization: `Bearer ${key}` } });

/** Events as server-sent events; an error among them is the last. */
async function streamed(c: Context, events: AsyncGenerator<unknown, void>, tell: (error: unknown) => object) {
  const utf8 = new TextEncoder();
  const line = (event: unknown) => utf8.encode(`data: ${JSON.stringify(event)}\n\n`);
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { done, value } = await events.next();
        if (done) controller.close();
        else controller.enqueue(line(value));
      } catch (error) {
        controller.enqueue(line({ type: "error", ...tell(error) }));
        controller.close();
      }
    },
    async cancel() {
      await events.return();
    },
  });
  return c.body(body, 200, { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache" });
}

/** A request's body as it comes. Throws ApiError for more than `most` bytes. */
async function* bytesOf(request: Request, most: number): AsyncGenerator<Uint8Array> {
  const reader = request.body?.getReader();
  let bytes = 0;
  for (let next = await reader?.read(); next && !next.done; next = await reader!.read()) {
    bytes += next.value.byteLength;
    if (bytes > most) throw new ApiError(413, `the file is larger than ${most} bytes`);
    yield next.value;
  }
}
