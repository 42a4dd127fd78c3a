import { connect, type Socket } from "node:net";
import { networkInterfaces } from "node:os";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type HttpServer, serveHttp } from "../../src/node/http-server.js";
import { serve } from "../../src/node/serve.js";
import { type AdapterRegistry, createAdapterRegistry } from "../../src/recipes/adapter-registry.js";
import { createServer } from "../../src/server/index.js";
import { beforeFeeding, type Tiny, tiny } from "./tiny.js";

// What may come in over a socket, written byte by byte.
const LIMITS = { slots: 1, queue: 1, bodyBytes: 10_000, maxTokens: 400, seconds: 20 };
let t: Tiny;
let registry: AdapterRegistry;
let http: HttpServer;

beforeAll(async () => {
  t = await tiny();
  registry = createAdapterRegistry(t.model);
  const server = createServer(registry, {
    baseId: "tiny",
    limits: LIMITS,
    origins: ["https://chat.example.org"],
    seed: 1,
  });
  http = await serveHttp(server.fetch, { port: 0, headersTimeout: 400, requestTimeout: 800 });
});
afterAll(async () => {
  await http.close();
  await t.dispose();
});

const open = () => connect(http.port, "127.0.0.1");

/** All that the server says until it closes, or until `enough` is seen. */
function heard(socket: Socket, enough?: string): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    const done = () => resolve(text);
    socket.on("data", (data) => {
      text += data;
      if (enough !== undefined && text.includes(enough)) done();
    });
    socket.on("close", done).on("error", done);
  });
}

interface Sent {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

function head({ method = "POST", path = "/v1/completions", headers = {} }: Sent, length: number): string {
  const all = {
    host: `127.0.0.1:${http.port}`,
    "content-type": "application/json",
    "content-length": length,
    ...headers,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}`);
  return `${[`${method} ${path} HTTP/1.1`, ...lines].join("\r\n")}\r\n\r\n`;
}

async function send(sent: Sent): Promise<{ status: number; text: string }> {
  const socket = open();
  const body = sent.body ?? JSON.stringify({ model: "tiny", prompt: "Ada", max_tokens: 1 });
  socket.write(head({ ...sent, headers: { connection: "close", ...sent.headers } }, Buffer.byteLength(body)) + body);
  const text = await heard(socket);
  return { status: Number(text.split(" ")[1]), text };
}

const healthy = async () => expect((await send({})).status).toBe(200);

describe("faults: the server", () => {
  it("answers a plain request", healthy);

  it("foreign Host: 403", async () => {
    for (const host of ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.nip.io"]) {
      const { status, text } = await send({ headers: { host } });
      expect({ host, status }).toEqual({ host, status: 403 });
      expect(text).toContain("foreign_host");
    }
    expect((await send({ headers: { host: "LOCALHOST:1" } })).status).toBe(200);
  });

  it("foreign Origin: 403; an allowed one may read the answer, and its preflight passes", async () => {
    for (const origin of [
      "https://evil.example",
      "null",
      "http://localhost:1",
      "https://chat.example.org.evil.example",
    ]) {
      expect((await send({ headers: { origin } })).status, origin).toBe(403);
      expect((await send({ method: "OPTIONS", headers: { origin } })).status, origin).toBe(403);
    }
    const origin = "https://chat.example.org";
    const { status, text } = await send({ headers: { origin } });
    expect(status).toBe(200);
    expect(text.toLowerCase()).toContain(`access-control-allow-origin: ${origin}`);
    expect((await send({ method: "OPTIONS", headers: { origin } })).status).toBe(204);
    expect((await send({ headers: { origin: `http://127.0.0.1:${http.port}` } })).status).toBe(200);
  });

  it("a form post, which pages may send without asking: 415", async () => {
    for (const type of ["text/plain", "application/x-www-form-urlencoded", "application/jsonx"]) {
      expect((await send({ headers: { "content-type": type } })).status, type).toBe(415);
    }
  });

  it("100 MB body: 413 at once when it says so, and when it does not, before it is read whole", async () => {
    const said = open();
    said.write(head({}, 100e6));
    expect(await heard(said, "413")).toContain("HTTP/1.1 413");
    said.destroy();
    const unsaid = open();
    unsaid.write(
      `POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n`,
    );
    const answer = heard(unsaid, "413");
    let sent = 0;
    const chunk = `4000\r\n${" ".repeat(0x4000)}\r\n`;
    const timer = setInterval(() => {
      if (unsaid.writable && sent < 100e6) unsaid.write(chunk, () => (sent += chunk.length));
    }, 1);
    expect(await answer).toContain("HTTP/1.1 413");
    clearInterval(timer);
    unsaid.destroy();
    expect(sent).toBeLessThan(5e6);
    await healthy();
  });

  it("deep JSON, broken JSON, no object, bad UTF-8, __proto__: 400", async () => {
    const nested = (depth: number) =>
      `{"model": "tiny", "prompt": "Ada", "max_tokens": 1, "metadata": ${"[".repeat(depth)}${"]".repeat(depth)}}`;
    const bodies: Record<string, string> = {
      ["[".repeat(9000)]: "the body nests deeper than 32 levels",
      [nested(32)]: "the body nests deeper than 32 levels",
      [nested(3000)]: "the body nests deeper than 32 levels",
      "{": "the body is not JSON",
      "": "the body is not JSON",
      "[]": "the body is not a JSON object",
      null: "the body is not a JSON object",
      '{"__proto__": {"x": 1}}': "",
    };
    for (const [body, message] of Object.entries(bodies)) {
      const { status, text } = await send({ body });
      expect({ body: body.slice(0, 80), status }).toEqual({ body: body.slice(0, 80), status: 400 });
      expect(text).toContain(message);
    }
    expect((await send({ body: nested(31) })).text).not.toContain("nests deeper");
    const socket = open();
    socket.write(
      Buffer.concat([
        Buffer.from(head({ headers: { connection: "close" } }, 4)),
        Buffer.from([0x7b, 0xff, 0xfe, 0x7d]),
      ]),
    );
    expect(await heard(socket)).toContain("not UTF-8");
    expect(({} as { x?: number }).x).toBeUndefined();
  });

  it("huge n, and numbers that are none: 400", async () => {
    for (const more of [
      '"n": 1e9',
      '"max_tokens": 1e400',
      '"max_tokens": 0',
      '"n": 9',
      '"max_tokens": -1',
      '"n": 0',
      '"temperature": 1e400',
      '"seed": 1.5',
      '"top_k": "5"',
    ]) {
      const { status, text } = await send({ body: `{"model": "tiny", "prompt": "Ada", ${more}}` });
      expect({ more, status }).toEqual({ more, status: 400 });
      expect(text).toContain("invalid_request_error");
    }
  });

  it("unknown paths: 404, in the same shape", async () => {
    for (const path of ["/", "/v1/../etc/passwd", "/v1/files", "//x"]) {
      const { status, text } = await send({ path });
      expect(status, path).toBe(404);
      expect(text).toContain('{"error":{"message"');
    }
  });

  it("a method that a path does not answer: 405, which says those it answers", async () => {
    const ask = (method: string, path: string) => fetch(`http://127.0.0.1:${http.port}${path}`, { method });
    for (const [method, path, allowed] of [
      ["DELETE", "/v1/chat/completions", "POST"],
      ["GET", "/v1/completions", "POST"],
      ["POST", "/v1/models", "GET, HEAD"],
      ["PUT", "/health", "GET, HEAD"],
      ["PATCH", "/v1/models/a", "GET, HEAD"],
    ] as const) {
      const reply = await ask(method, path);
      expect([reply.status, reply.headers.get("allow")], path).toEqual([405, allowed]);
      expect(await reply.json()).toMatchObject({
        error: { code: "method_not_supported", message: expect.stringContaining(allowed) },
      });
    }
    expect((await ask("HEAD", "/v1/models")).status).toBe(200);
    expect((await ask("HEAD", "/v1/completions")).status).toBe(405);
  });

  it("what is not HTTP, and methods no request can have: closed or 4xx, and others are served", async () => {
    for (const bytes of [
      "\x16\x03\x01\x02\x00",
      "GET / HTTP/9.9\r\n\r\n",
      "GET /\0 HTTP/1.1\r\n\r\n",
      "TRACE / HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ]) {
      const socket = open();
      socket.write(bytes);
      expect(await heard(socket)).toMatch(/^(HTTP\/1.1 4\d\d[\s\S]*)?$/);
    }
    const headers = { "x-long": "x".repeat(100_000) };
    expect((await send({ headers })).status).toBe(431);
    await healthy();
  });

  it("a slow client that never finishes its headers or its body is dropped", async () => {
    const began = performance.now();
    const [headers, body] = [open(), open()];
    headers.write("POST /v1/completions HTTP/1.1\r\nhost: local");
    body.write(`${head({}, 100)}{"model"`);
    const texts = await Promise.all([heard(headers), heard(body)]);
    expect(performance.now() - began).toBeLessThan(5000);
    for (const text of texts) expect(text).toMatch(/^(HTTP\/1.1 408[\s\S]*)?$/);
    await healthy();
  });

  it("a client that reads nothing of a long answer is dropped, and what makes the answer is told", async () => {
    let ended: (why: unknown) => void;
    const why = new Promise((resolve) => (ended = resolve));
    const pull = (controller: ReadableStreamDefaultController) => controller.enqueue(new Uint8Array(1 << 16));
    const endless = async () => new Response(new ReadableStream({ pull, cancel: (reason) => ended(reason) }));
    const server = await serveHttp(endless, { port: 0, stallTimeout: 200 });
    const socket = connect(server.port, "127.0.0.1");
    socket.pause();
    socket.on("error", () => undefined);
    socket.write("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
    expect(await why).toMatchObject({ message: "the client left" });
    socket.destroy();
    await server.close();
  });

  it("binds loopback by default; beyond it a key is needed", async () => {
    expect(http.url).toBe(`http://127.0.0.1:${http.port}`);
    const outside = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
    for (const { address } of outside.filter(({ internal, family }) => !internal && family === "IPv4")) {
      const socket = connect(http.port, address);
      expect(
        await new Promise((resolve) => socket.on("connect", () => resolve("in")).on("error", () => resolve("out"))),
      ).toBe("out");
    }
    for (const host of ["0.0.0.0", "::", "192.0.2.1", "example.org"]) {
      await expect(serve(t.model, { host, port: 0 }), host).rejects.toThrow("beyond this machine a key is needed");
    }
    const guarded = await serve(t.model, { host: "0.0.0.0", port: 0, apiKey: "k" });
    const ask = (headers: Record<string, string>) => fetch(`http://127.0.0.1:${guarded.port}/v1/models`, { headers });
    expect((await ask({})).status).toBe(401);
    expect((await ask({ authorization: "Bearer k" })).status).toBe(200);
    await guarded.close();
  });

  it("a queue that is full: 429 with Retry-After; a client gone, waiting or served, frees its place", async () => {
    const long = JSON.stringify({ model: "tiny", prompt: "Ada", max_tokens: 400, temperature: 2, stream: true, n: 8 });
    const ask = () => {
      const socket = open();
      socket.write(head({}, long.length) + long);
      return socket;
    };
    beforeFeeding(() => new Promise((resolve) => setTimeout(resolve, 5))); // it lasts
    const served = ask();
    await heard(served, "data: ");
    const waiting = ask();
    const gauge = async (name: string) => {
      const { text } = await send({ method: "GET", path: "/metrics", body: "" });
      return new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1];
    };
    await expect.poll(() => gauge("lowrank_waiting_requests"), { timeout: 10_000 }).toBe("1");
    const refused = await send({});
    expect(refused.status).toBe(429);
    expect(refused.text.toLowerCase()).toContain("retry-after: 1");
    waiting.destroy();
    await expect.poll(() => gauge("lowrank_waiting_requests"), { timeout: 10_000 }).toBe("0");
    expect(await gauge("lowrank_active_requests")).toBe("1");
    served.destroy();
    await expect.poll(() => gauge("lowrank_active_requests"), { timeout: 2000 }).toBe("0");
    await healthy();
  });
});

it("a client gone is noticed however long it takes, and whatever was collected meanwhile", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  let signal: AbortSignal | undefined;
  const slow = async (request: Request) => {
    signal = request.signal;
    return new Response(new ReadableStream({ start: (controller) => controller.enqueue(Buffer.from("begun")) }));
  };
  const server = await serveHttp(slow, { port: 0 });
  const socket = connect(server.port, "127.0.0.1");
  socket.write("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
  await heard(socket, "begun");
  for (let i = 0; i < 5; i++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    collect();
  }
  socket.destroy();
  await expect.poll(() => signal!.aborted, { timeout: 10_000 }).toBe(true);
  await server.close();
});

it("a reply that is left half read is no failure of the server", async () => {
  const [logs, failures]: [number[], unknown[]] = [[], []];
  const server = createServer(registry, {
    baseId: "tiny",
    seed: 1,
    onRequest: ({ status }) => logs.push(status),
    onError: (error) => failures.push(error),
  });
  const body = JSON.stringify({ model: "tiny", prompt: "Ada", max_tokens: 200, temperature: 2, stream: true });
  const headers = { "content-type": "application/json" };
  for (let reads = 1; reads < 5; reads++) {
    const reply = await server.fetch(new Request("http://localhost/v1/completions", { method: "POST", headers, body }));
    const reader = reply.body!.getReader();
    for (let i = 0; i < reads; i++) await reader.read();
    const next = reader.read();
    await reader.cancel();
    expect((await next).done).toBe(true);
  }
  expect(logs).toEqual([499, 499, 499, 499]);
  expect(failures).toEqual([]);
});

it("a request that takes too long is ended and frees its slot", async () => {
  const server = createServer(registry, { baseId: "tiny", limits: { slots: 1, seconds: 0.2, answers: 1000 } });
  const ask = (body: object) =>
    server.fetch(
      new Request("http://localhost/v1/completions", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ model: "tiny", prompt: "Ada", temperature: 2, ...body }),
      }),
    );
  const slow = await ask({ max_tokens: 200, n: 1000 });
  expect(slow.status).toBe(503);
  expect(await slow.json()).toMatchObject({ error: { code: "timeout" } });
  expect(await (await ask({ max_tokens: 200, n: 1000, stream: true })).text()).toContain('"code":"timeout"');
  expect((await ask({ max_tokens: 1 })).status).toBe(200);
});

it("the key guards every page", async () => {
  const server = createServer(registry, { apiKey: "secret" });
  for (const path of ["/v1/models", "/metrics", "/nowhere"]) {
    const ask = (headers: Record<string, string>) => server.fetch(new Request(`http://localhost${path}`, { headers }));
    for (const authorization of ["", "Bearer", "Bearer secre", "Bearer secrets", "Basic secret"]) {
      expect((await ask({ authorization })).status, `${path} ${authorization}`).toBe(401);
    }
    expect((await ask({ authorization: "Bearer secret" })).status).toBe(path === "/nowhere" ? 404 : 200);
  }
});
