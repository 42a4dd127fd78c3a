import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** Servers on this machine's loopback that a test closes again. */
export function createServers() {
  const servers: Server[] = [];
  return {
    /** Starts a server; its address. */
    async serve(server: Server | ((request: IncomingMessage, response: ServerResponse) => void)): Promise<string> {
      const started = typeof server === "function" ? createServer(server) : server;
      servers.push(started);
      await new Promise<void>((done) => started.listen(0, "127.0.0.1", done));
      return `http://127.0.0.1:${(started.address() as AddressInfo).port}`;
    },
    async close(): Promise<void> {
      for (const server of servers.splice(0)) {
        server.closeAllConnections();
        await new Promise((done) => server.close(done));
      }
    },
  };
}

export const COMMIT = "0123456789abcdef0123456789abcdef01234567";
export const weights = Buffer.from(Array.from({ length: 5000 }, (_, i) => (i * 7) % 256));
export const config = Buffer.from('{"model_type": "llama"}');
export const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
export const gitId = (bytes: Buffer): string =>
  createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");

export interface HubOptions {
  /** Bytes after which a connection that does not continue a file is cut. */
  readonly cutAfter?: number;
  /** The bytes that are really sent for the weights. */
  readonly body?: Buffer;
  /** More entries of the list. */
  readonly extra?: readonly object[];
  /** Where the weights' bytes are: the hub redirects to it. */
  readonly storage?: string;
  /** Every request is put here. */
  readonly seen?: IncomingMessage[];
  /** Milliseconds before the weights are sent. */
  readonly delay?: number;
  /** The commit of a branch. */
  readonly commits?: Readonly<Record<string, string>>;
}

/** What a hub does with a request: it has owner/name, with config.json and model.safetensors in it. */
export function hubHandler({
  cutAfter,
  body = weights,
  extra = [],
  storage,
  seen = [],
  delay = 0,
  commits = { main: COMMIT },
}: HubOptions = {}) {
  const tree = [
    { type: "directory", path: "original", size: 0 },
    { type: "file", path: "config.json", size: config.length, oid: gitId(config) },
    { type: "file", path: "model.safetensors", size: weights.length, lfs: { oid: sha256(weights) } },
    { type: "file", path: "pytorch_model.bin", size: 9, oid: gitId(Buffer.from("pickle...")) },
    ...extra,
  ];
  return (request: IncomingMessage, response: ServerResponse): void => {
    seen.push(request);
    const path = request.url!.replace(/^http:\/\/[^/]+/, ""); // a proxy is asked by the whole address
    const revision = /^\/api\/models\/owner\/name\/revision\/(.+)$/.exec(path)?.[1];
    if (revision !== undefined) {
      const name = decodeURIComponent(revision);
      const sha = commits[name] ?? Object.values(commits).find((commit) => commit === name);
      if (sha) return void response.end(JSON.stringify({ sha }));
      return void response.writeHead(404, { "x-error-code": "RevisionNotFound" }).end();
    }
    const [, commit, file] = /^\/(?:api\/models\/)?owner\/name\/(?:tree|resolve)\/([^/?]+)\/?([^?]*)/.exec(path) ?? [];
    if (!Object.values(commits).includes(commit!)) return void response.writeHead(404).end();
    if (file === "") return void response.end(JSON.stringify(tree));
    if (file === "config.json") return void response.end(config);
    if (file !== "model.safetensors") return void response.writeHead(404).end();
    if (storage) return void response.writeHead(302, { location: `${storage}/blob` }).end();
    const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
    response.writeHead(from ? 206 : 200, { "content-length": body.length - from });
    const send = () => {
      if (cutAfter && from === 0) response.write(body.subarray(0, cutAfter), () => response.destroy());
      else response.end(body.subarray(from));
    };
    if (delay) setTimeout(send, delay);
    else send();
  };
}

/** The variables that say where the hub is and where models lie: set aside, so that a test meets none of its machine's. */
export const HUB_VARIABLES = [
  ...["HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH"],
  ...["HF_HUB_DISABLE_IMPLICIT_TOKEN", "HF_HUB_DISABLE_SYMLINKS", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"],
  ...["HF_ENDPOINT", "LOWRANK_MODELS", "XDG_CACHE_HOME", "LOCALAPPDATA"],
  ...["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"].flatMap((name) => [name, name.toLowerCase()]),
];
