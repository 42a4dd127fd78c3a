import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { download } from "../../src/browser/download.js";
import { fetchModel } from "../../src/browser/fetch-model.js";
import type { Files } from "../../src/formats/files.js";
import { memoryFiles } from "../../src/formats/memory-files.js";

// A server that can be told to break off, to have another file, and to know nothing of ranges.
const served = { bytes: new Uint8Array(), etag: '"one"', cutAt: 0, ranges: true, asked: [] as IncomingHttpHeaders[] };
let server: Server;
let url: string;
let files: Files;
const body = new Uint8Array(11_000_000).map((_, i) => (i * 31) % 256);
const sha256 = createHash("sha256").update(body).digest("hex");

beforeAll(async () => {
  server = createServer((request, response) => {
    served.asked.push(request.headers);
    if (request.url === "/none") return void response.writeHead(404, "Not Found").end();
    const { range, "if-range": version } = request.headers;
    const from = served.ranges && range && version === served.etag ? Number(/^bytes=(\d+)-$/.exec(range)![1]) : 0;
    const rest = served.bytes.subarray(from);
    response.writeHead(from > 0 ? 206 : 200, { etag: served.etag, "content-length": rest.length });
    if (!served.cutAt) return void response.end(rest);
    response.write(rest.subarray(0, served.cutAt), () => setTimeout(() => response.destroy(), 50));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/model.gguf`;
});
afterAll(() => void server.close());
beforeEach(() => {
  Object.assign(served, { bytes: body, etag: '"one"', cutAt: 0, ranges: true, asked: [] });
  files = memoryFiles();
});

it("a file is there when it is whole and its checksum right; progress is told", async () => {
  const seen: number[] = [];
  await download(files, url, "models/m.gguf", { sha256, onProgress: ({ done, total }) => seen.push(done / total!) });
  expect(await files.sha256("models/m.gguf")).toBe(sha256);
  expect(await files.list("models")).toEqual(["m.gguf"]);
  expect(seen.at(-1)).toBe(1);
});

it("an address whose last part is no name of a GGUF file is refused", async () => {
  for (const address of [
    "https://models.example.org/a%zz.gguf",
    "https://models.example.org/a.bin",
    "ftp://a.org/a.gguf",
  ])
    await expect(fetchModel(files, address, {})).rejects.toThrow("expected the https address of a GGUF file");
});

it("one that was cut off goes on behind what came, also after two cuts", async () => {
  for (const cut of [5_000_000, 4_500_000]) {
    served.cutAt = cut;
    await expect(download(files, url, "m", { sha256 })).rejects.toThrow(
      /connection broke .*download again to continue/,
    );
    expect(await files.stat("m")).toBeUndefined();
  }
  served.cutAt = 0;
  await download(files, url, "m", { sha256 });
  expect(served.asked.map(({ range }) => range !== undefined)).toEqual([false, true, true]);
  expect(Number(/\d+/.exec(served.asked[2]!.range!)![0])).toBeGreaterThan(9_000_000);
  expect(await files.sha256("m")).toBe(sha256);
});

it.each([
  ["the server has another file", () => (served.etag = '"two"')],
  ["the server knows no ranges", () => (served.ranges = false)],
])("it begins anew where %s", async (_, change) => {
  served.cutAt = 5_000_000;
  await expect(download(files, url, "m")).rejects.toThrow("connection broke");
  served.cutAt = 0;
  served.bytes = body.slice().reverse();
  change();
  await download(files, url, "m");
  expect(await files.sha256("m")).toBe(createHash("sha256").update(served.bytes).digest("hex"));
});

it("a wrong checksum leaves nothing; a refusal says what the server said", async () => {
  await expect(download(files, url, "m", { sha256: "0".repeat(64) })).rejects.toMatchObject({
    code: "download_failed",
    message: expect.stringContaining("its checksum is wrong"),
  });
  expect(await files.list("")).toEqual([]);
  await expect(download(files, url.replace("model.gguf", "none"), "m")).rejects.toThrow("answered 404 Not Found");
});
