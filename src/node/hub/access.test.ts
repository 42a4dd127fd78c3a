import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, request } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createServers, HUB_VARIABLES, hubHandler } from "../../../test/fake-hub.js";
import { downloadModel } from "./download.js";
import { cacheHome, hubToken } from "./settings.js";

const { serve, close } = createServers();

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "lowrank-access-"));
  for (const name of HUB_VARIABLES) vi.stubEnv(name, undefined);
  vi.stubEnv("HF_HOME", join(home, "hf"));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await close();
  rmSync(home, { recursive: true, force: true });
});

describe("the token", () => {
  const leave = (path: string, text: string) => {
    mkdirSync(join(home, "hf"), { recursive: true });
    writeFileSync(join(home, path), text);
    return join(home, path);
  };

  it("is the one given, HF_TOKEN, the file of HF_TOKEN_PATH or HF_HOME, in this order", () => {
    expect(hubToken()).toBeUndefined();
    const path = leave("hf/token", "hf_file\n");
    expect(hubToken()).toEqual({ value: "hf_file", from: path });
    vi.stubEnv("HF_TOKEN_PATH", leave("other", " hf_other\r\n"));
    expect(hubToken()!.value).toBe("hf_other");
    vi.stubEnv("HF_TOKEN", "hf_env ");
    expect(hubToken()).toEqual({ value: "hf_env", from: "HF_TOKEN" });
    expect(hubToken("hf_given")!.value).toBe("hf_given");
    expect(hubToken("")).toBeUndefined();
    vi.stubEnv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1");
    expect(hubToken()).toBeUndefined();
  });

  it("that cannot be read or sent is refused, and never shown", () => {
    mkdirSync(join(home, "hf/token"), { recursive: true });
    expect(() => hubToken()).toThrow("the hub's token cannot be read");
    for (const bad of ["hf secret", "hf_sécret"]) {
      vi.stubEnv("HF_TOKEN", bad);
      expect(() => hubToken()).toThrow(/^HF_TOKEN: this is no token(?!.*cret)/);
    }
  });

  it("of the file is sent, and named when it is refused", async () => {
    const path = leave("hf/token", "hf_file\n");
    const seen: IncomingMessage[] = [];
    await downloadModel("owner/name", { endpoint: await serve(hubHandler({ seen })) });
    expect(new Set(seen.map(({ headers }) => headers.authorization))).toEqual(new Set(["Bearer hf_file"]));
    const refusing = await serve((_request, response) => void response.writeHead(401).end());
    const refused = downloadModel("owner/name", { endpoint: refusing });
    await expect(refused).rejects.toThrow(`the token from ${path} is not valid`);
    await expect(refused).rejects.not.toThrow("hf_file");
  });
});

describe("a proxy", () => {
  /** A proxy that forwards requests by whole address and opens tunnels, all to `target`; it notes what it was asked. */
  async function proxy(target: string, asked: string[], password?: string): Promise<string> {
    const { port } = new URL(target);
    const allowed = ({ headers }: IncomingMessage) =>
      !password || headers["proxy-authorization"] === `Basic ${Buffer.from(password).toString("base64")}`;
    const server = createServer((ask, answer) => {
      asked.push(`${ask.method} ${ask.url}`);
      if (!allowed(ask)) return void answer.writeHead(407).end();
      const url = new URL(ask.url!);
      const { "proxy-authorization": _, ...headers } = ask.headers;
      const onward = request({ port, path: url.pathname + url.search, headers }, (reply) => {
        answer.writeHead(reply.statusCode!, reply.headers);
        reply.pipe(answer);
      });
      ask.pipe(onward);
    });
    server.on("connect", (ask, socket) => {
      asked.push(`CONNECT ${ask.url}`);
      if (!allowed(ask)) return void socket.end("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
      const onward = connect(Number(port), "127.0.0.1", () => {
        socket.write("HTTP/1.1 200 OK\r\n\r\n");
        onward.pipe(socket).pipe(onward);
      });
      for (const end of [socket, onward]) end.on("error", () => undefined);
    });
    return serve(server);
  }

  const download = (endpoint: string) => downloadModel("owner/name", { endpoint, output: join(home, "model") });

  it.each(["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])(
    "that %s names is asked for the hub",
    async (name) => {
      const asked: string[] = [];
      vi.stubEnv(name, await proxy(await serve(hubHandler()), asked));
      await download("http://hub.invalid");
      expect(asked[0]).toBe("GET http://hub.invalid/api/models/owner/name/revision/main");
      expect(asked).toHaveLength(4);
    },
  );

  it("is not asked for what NO_PROXY names", async () => {
    const asked: string[] = [];
    const hub = await serve(hubHandler());
    vi.stubEnv("HTTP_PROXY", await proxy(hub, asked));
    for (const names of ["127.0.0.1", "localhost, 127.0.0.1", "*", new URL(hub).host]) {
      vi.stubEnv("NO_PROXY", names);
      await download(hub);
    }
    expect(asked).toEqual([]);
    vi.stubEnv("NO_PROXY", "example.com");
    await download(hub);
    expect(asked.length).toBeGreaterThan(0);
  });

  it("gets its name and password, which no message shows", async () => {
    const asked: string[] = [];
    const address = new URL(await proxy(await serve(hubHandler()), asked, "me:pass word"));
    vi.stubEnv("HTTP_PROXY", `me:pass%20word@${address.host}`);
    await download("http://hub.invalid");
    vi.stubEnv("HTTP_PROXY", `http://me:wrong@${address.host}`);
    const refused = download("http://hub.invalid");
    await expect(refused).rejects.toThrow(`Proxy Authentication Required (407) (proxy: ${address.host}`);
    await expect(refused).rejects.not.toThrow("wrong");
    await expect(download("https://hub.invalid")).rejects.toThrow(/cannot be reached: .*407/);
  });

  it("that is not there or of another kind is named", async () => {
    vi.stubEnv("HTTP_PROXY", "http://127.0.0.1:1");
    await expect(download("http://hub.invalid")).rejects.toThrow("(proxy: 127.0.0.1:1; NO_PROXY");
    vi.stubEnv("HTTP_PROXY", "socks5://me:secret@127.0.0.1:1");
    await expect(download("http://hub.invalid")).rejects.toThrow(/^HTTP_PROXY: a socks5 proxy \(127.0.0.1:1\) is not/);
    vi.stubEnv("HTTP_PROXY", "http://[");
    await expect(download("http://hub.invalid")).rejects.toThrow("no address of a proxy");
  });

  const openssl = spawnSync("openssl", ["version"]).status === 0;
  it.skipIf(!openssl).each(["HTTPS_PROXY", "ALL_PROXY"])(
    "that %s names opens a tunnel to an https hub",
    async (name) => {
      const files = ["key.pem", "cert.pem"].map((file) => join(home, file));
      const subject = ["-subj", "/CN=hub.invalid", "-addext", "subjectAltName=DNS:hub.invalid", "-days", "2"];
      const made = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        files[0]!,
        "-out",
        files[1]!,
        ...subject,
      ];
      expect(spawnSync("openssl", made).status).toBe(0);
      const pem = (file: string) => readFileSync(file);
      const hub = createTlsServer({ key: pem(files[0]!), cert: pem(files[1]!) }, hubHandler());
      const asked: string[] = [];
      vi.stubEnv(name, await proxy(await serve(hub as unknown as import("node:http").Server), asked));
      vi.stubEnv("NODE_TLS_REJECT_UNAUTHORIZED", "0");
      await download("https://hub.invalid");
      expect(new Set(asked)).toEqual(new Set(["CONNECT hub.invalid:443"]));
    },
  );
});

it("what is lowrank's own goes to XDG_CACHE_HOME, Windows' LOCALAPPDATA or ~/.cache", () => {
  expect(cacheHome()).toMatch(/\.cache$/);
  vi.stubEnv("XDG_CACHE_HOME", join(home, "xdg"));
  expect(cacheHome()).toBe(join(home, "xdg"));
  vi.stubEnv("XDG_CACHE_HOME", undefined);
  vi.stubEnv("LOCALAPPDATA", join(home, "local"));
  expect(cacheHome()).toMatch(/\.cache$/);
  const here = Object.getOwnPropertyDescriptor(process, "platform")!;
  Object.defineProperty(process, "platform", { ...here, value: "win32" });
  expect(cacheHome()).toBe(join(home, "local"));
  Object.defineProperty(process, "platform", here);
});
