import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { downloadModel } from "./download.js";

const weights = Buffer.from(Array.from({ length: 5000 }, (_, i) => (i * 7) % 256));
const config = Buffer.from('{"model_type": "llama"}');

let servers: Server[] = [];
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-download-"));
});
afterEach(async () => {
  for (const server of servers) {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  }
  servers = [];
  rmSync(folder, { recursive: true, force: true });
});

async function serve(handle: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server = createServer(handle);
  servers.push(server);
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

interface HubOptions {
  /** Bytes after which a connection that does not continue a file is cut. */
  cutAfter?: number;
  /** The bytes that are really sent. */
  body?: Buffer;
  extra?: object[];
  storage?: string;
  seen?: IncomingMessage[];
}

/** A hub with config.json and model.safetensors in it. */
function hub({ cutAfter, body = weights, extra = [], storage, seen = [] }: HubOptions = {}): Promise<string> {
  const sha1 = createHash("sha1").update(`blob ${config.length}\0`).update(config).digest("hex");
  const oid = createHash("sha256").update(weights).digest("hex");
  const tree = [
    { type: "directory", path: "original", size: 0 },
    { type: "file", path: "config.json", size: config.length, oid: sha1 },
    { type: "file", path: "model.safetensors", size: weights.length, lfs: { oid } },
    { type: "file", path: "pytorch_model.bin", size: 9, oid: "0" },
    ...extra,
  ];
  return serve((request, response) => {
    seen.push(request);
    if (request.url!.startsWith("/api/models/owner/name/tree/main")) return void response.end(JSON.stringify(tree));
    if (request.url === "/owner/name/resolve/main/config.json") return void response.end(config);
    if (request.url !== "/owner/name/resolve/main/model.safetensors") return void response.writeHead(404).end();
    if (storage) return void response.writeHead(302, { location: `${storage}/blob` }).end();
    const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
    response.writeHead(from ? 206 : 200, { "content-length": body.length - from });
    if (cutAfter && from === 0) response.write(body.subarray(0, cutAfter), () => response.destroy());
    else response.end(body.subarray(from));
  });
}

const weightsFile = () => join(folder, "model.safetensors");

it("fetches what a model needs, with progress, and leaves pickles alone", async () => {
  const endpoint = await hub();
  const steps: number[] = [];
  const onProgress = ({ done, total }: { done: number; total: number }) => void steps.push(done / total);
  expect(await downloadModel("owner/name", { endpoint, output: folder, onProgress })).toBe(folder);
  expect(readFileSync(weightsFile())).toEqual(weights);
  expect(readFileSync(join(folder, "config.json"))).toEqual(config);
  expect(existsSync(join(folder, "pytorch_model.bin"))).toBe(false);
  expect(steps.at(-1)).toBe(1);
  expect(steps).toEqual([...steps].sort((a, b) => a - b));
});

it("continues a file where the connection was cut, and where an earlier download stopped", async () => {
  const seen: IncomingMessage[] = [];
  const endpoint = await hub({ cutAfter: 2000, seen });
  await downloadModel("owner/name", { endpoint, output: folder });
  expect(readFileSync(weightsFile())).toEqual(weights);
  expect(seen.map((r) => r.headers.range).filter(Boolean)).toEqual(["bytes=2000-"]);
  rmSync(weightsFile());
  writeFileSync(`${weightsFile()}.incomplete`, weights.subarray(0, 4321));
  await downloadModel("owner/name", { endpoint, output: folder });
  expect(seen.at(-1)!.headers.range).toBe("bytes=4321-");
  expect(readFileSync(weightsFile())).toEqual(weights);
});

it("does not fetch again what is there and whole", async () => {
  const seen: IncomingMessage[] = [];
  const endpoint = await hub({ seen });
  await downloadModel("owner/name", { endpoint, output: folder });
  const before = seen.length;
  await downloadModel("owner/name", { endpoint, output: folder });
  expect(seen.length).toBe(before + 1);
});

it("throws away a file whose checksum is wrong", async () => {
  const body = Buffer.from(weights);
  body[100]! ^= 1;
  await expect(downloadModel("owner/name", { endpoint: await hub({ body }), output: folder })).rejects.toThrow(
    "model.safetensors: its checksum is wrong",
  );
  expect(existsSync(weightsFile())).toBe(false);
  expect(existsSync(`${weightsFile()}.incomplete`)).toBe(false);
});

it("refuses file names that lead out of the folder, before anything is written", async () => {
  for (const path of ["../evil.json", "/etc/evil.json", "a\\..\\evil.json", "x/../../evil.json"]) {
    const endpoint = await hub({ extra: [{ type: "file", path, size: 3, oid: "0" }] });
    const run = downloadModel("owner/name", { endpoint, output: folder, include: ["*"] });
    await expect(run).rejects.toThrow("is refused");
    expect(existsSync(weightsFile())).toBe(false);
  }
  await expect(downloadModel("../name", { endpoint: "http://127.0.0.1:1" })).rejects.toThrow("expected owner/name");
});

it("sends the token to the hub and never to where it redirects", async () => {
  const seen: IncomingMessage[] = [];
  const storage = await serve((request, response) => {
    seen.push(request);
    response.end(weights);
  });
  const seenByHub: IncomingMessage[] = [];
  const endpoint = await hub({ storage, seen: seenByHub });
  await downloadModel("owner/name", { endpoint, output: folder, token: "hf_secret" });
  expect(seenByHub.every((r) => r.headers.authorization === "Bearer hf_secret")).toBe(true);
  expect(seen).toHaveLength(1);
  expect(seen[0]!.headers.authorization).toBeUndefined();
});

it("says what to do about a gated, a missing and an unreachable repository", async () => {
  const gated = await serve((_request, response) => void response.writeHead(403).end());
  await expect(downloadModel("owner/name", { endpoint: gated, output: folder, token: "" })).rejects.toThrow(
    "set HF_TOKEN",
  );
  const endpoint = await hub();
  await expect(downloadModel("owner/other", { endpoint, output: folder })).rejects.toThrow("not found");
  await expect(downloadModel("owner/name", { endpoint: "http://127.0.0.1:1", output: folder })).rejects.toThrow(
    "cannot be reached",
  );
});

it("asks which of several GGUF files is meant", async () => {
  const tree = ["a-Q4_0.gguf", "a-Q8_0.gguf"].map((path) => ({ type: "file", path, size: 1, oid: "0" }));
  const endpoint = await serve((_request, response) => void response.end(JSON.stringify(tree)));
  await expect(downloadModel("owner/name", { endpoint, output: folder })).rejects.toThrow("--include");
});
