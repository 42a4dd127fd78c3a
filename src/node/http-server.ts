import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { UserError } from "../tensor/index.js";
import { option } from "../tensor/option.js";

export interface HttpServerOptions {
  /** Default 127.0.0.1: this machine only. */
  readonly host?: string;
  /** Default 8000; 0 takes a free one. */
  readonly port?: number;
  /** Milliseconds in which a client must have sent its headers. Default 10 s. */
  readonly headersTimeout?: number;
  /** Milliseconds in which a client must have sent its whole request. Default 60 s. */
  readonly requestTimeout?: number;
  /** Milliseconds that a client may leave sent bytes unread before it is dropped. Default 30 s. */
  readonly stallTimeout?: number;
  /** Connections at a time; more are closed at once. Default 512. */
  readonly connections?: number;
}

export interface HttpServer {
  /** `http://host:port` as it listens. */
  readonly url: string;
  readonly port: number;
  /** Stops listening and drops every connection. */
  close(): Promise<void>;
}

/**
 * Milliseconds that a connection without a request stays open. Proxies and clients keep theirs for up to 60 s: one that is closed in the
 * moment it is used again looks to them like a server that failed.
 */
const KEEP_ALIVE = 65_000;

/**
 * Serves a handler over HTTP. A client that leaves aborts its request's signal. Throws UserError when the port cannot be
 * had.
 */
export async function serveHttp(
  handle: (request: Request) => Promise<Response>,
  {
    host = "127.0.0.1",
    port = 8000,
    headersTimeout = 10_000,
    requestTimeout = 60_000,
    stallTimeout = 30_000,
    connections = 512,
  }: HttpServerOptions = {},
): Promise<HttpServer> {
  const timeouts = { headersTimeout, requestTimeout, connectionsCheckingInterval: Math.min(1000, headersTimeout / 2) };
  const server = createServer({ ...timeouts, keepAliveTimeout: KEEP_ALIVE }, (incoming, outgoing) => {
    exchange(handle, incoming, outgoing, stallTimeout).catch(() => outgoing.destroy());
  });
  server.maxConnections = connections;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const hint =
        error.code === "EADDRINUSE" ? `; something listens there already, take another ${option("port")}` : "";
      reject(
        new UserError(`${host}:${port}: cannot be listened on (${error.code ?? error.message})${hint}`, {
          cause: error,
        }),
      );
    });
    server.listen(port, host, resolve);
  });
  const address = server.address() as AddressInfo;
  return {
    url: `http://${address.family === "IPv6" ? `[${address.address}]` : address.address}:${address.port}`,
    port: address.port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function exchange(
  handle: (request: Request) => Promise<Response>,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  stallTimeout: number,
): Promise<void> {
  const left = new AbortController();
  outgoing.on("close", () => {
    if (!outgoing.writableFinished) left.abort(new Error("the client left"));
  });
  const response = await responseTo(handle, incoming, left.signal);
  if (!response) {
    outgoing.writeHead(400, { "content-type": "text/plain", connection: "close" }).end("not a request\n");
    return;
  }
  // What was not read of a refused body is not waited for.
  const unread = !incoming.complete;
  const headers = Object.fromEntries(response.headers);
  outgoing.writeHead(response.status, {
    ...headers,
    "x-content-type-options": "nosniff",
    ...(unread ? { connection: "close" } : {}),
  });
  await pump(response, outgoing, left.signal, stallTimeout);
  if (unread) incoming.destroy();
}

/** Undefined for what is no request. The Request is garbage once it is answered, however long the answer is. */
async function responseTo(
  handle: (request: Request) => Promise<Response>,
  incoming: IncomingMessage,
  signal: AbortSignal,
): Promise<Response | undefined> {
  const request = requestOf(incoming, signal);
  return request && (await handle(request));
}

/** Undefined when the request line or a header is nothing that a Request can hold. */
function requestOf(incoming: IncomingMessage, signal: AbortSignal): Request | undefined {
  const { method = "GET", url = "/", rawHeaders } = incoming;
  try {
    const headers = new Headers();
    for (let i = 0; i < rawHeaders.length; i += 2) headers.append(rawHeaders[i]!, rawHeaders[i + 1]!);
    const bodiless = method === "GET" || method === "HEAD";
    const body = bodiless ? undefined : (Readable.toWeb(incoming) as ReadableStream<Uint8Array>);
    const target = url.startsWith("/") ? `http://localhost${url}` : url;
    const request = new Request(target, { method, headers, body, duplex: "half" } as RequestInit);
    // The signal itself: the one that a Request makes to follow it no longer does once the Request is garbage, in Node 20.
    return Object.defineProperty(request, "signal", { value: signal });
  } catch {
    return undefined;
  }
}

async function pump(
  response: Response,
  outgoing: ServerResponse,
  signal: AbortSignal,
  stallTimeout: number,
): Promise<void> {
  const reader = response.body?.getReader();
  const leave = () => void reader?.cancel(signal.reason).catch(() => undefined);
  signal.addEventListener("abort", leave);
  if (signal.aborted) leave();
  for (let next = await reader?.read(); next && !next.done && !signal.aborted; next = await reader!.read()) {
    if (!outgoing.write(next.value)) await drained(outgoing, stallTimeout);
  }
  outgoing.end();
}

/** Waits until the client has read; drops it when it does not in time. */
function drained(outgoing: ServerResponse, stallTimeout: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => outgoing.destroy(), stallTimeout);
    const go = () => {
      clearTimeout(timer);
      outgoing.off("drain", go).off("close", go);
      resolve();
    };
    outgoing.on("drain", go).on("close", go);
  });
}
