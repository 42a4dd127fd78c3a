import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { config, createServers, HUB_VARIABLES, type HubOptions, hubHandler, weights } from "../../../test/fake-hub.js";
import { downloadModel } from "./download.js";

const { serve, close } = createServers();
const hub = (options?: HubOptions) => serve(hubHandler(options));

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-download-"));
  for (const name of HUB_VARIABLES) vi.stubEnv(name, undefined);
  vi.stubEnv("HF_HOME", join(folder, "hf"));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await close();
  rmSync(folder, { recursive: true, force: true });
});

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
  expect(seen.slice(before).map(({ url }) => url!.split("/")[5])).toEqual(["revision", "tree"]);
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
    const endpoint = await hub({ extra: [{ type: "file", path, size: 3, oid: "0".repeat(40) }] });
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

it("says what to do about a gated, a private, a missing and an unreachable repository", async () => {
  const answer = (status: number, code?: string) =>
    serve((_request, response) => void response.writeHead(status, code ? { "x-error-code": code } : {}).end());
  const failure = async (endpoint: string, options: object = {}) =>
    downloadModel("owner/name", { endpoint, output: folder, ...options }).catch((error: Error) => error.message);
  expect(await failure(await answer(403, "GatedRepo"))).toMatch(
    /gated; accept its conditions on .*\/owner\/name .*set HF_TOKEN/,
  );
  expect(await failure(await answer(403, "GatedRepo"), { token: "hf_x" })).toContain("has no access yet");
  expect(await failure(await answer(401))).toMatch(/does not exist, or is private or gated: set HF_TOKEN/);
  expect(await failure(await answer(401), { token: "hf_x" })).toContain("the token given is not valid");
  expect(await failure(await answer(404))).toMatch(/not found on .*if it is private/);
  expect(await failure(await answer(429))).toContain("too many requests");
  expect(await failure(await answer(500))).toContain("answered 500");
  expect(await failure("hub.example")).toContain("HF_ENDPOINT: 'hub.example' is not an address");
  expect(await failure(await hub(), { revision: "v9" })).toContain("it has no revision 'v9'");
  await expect(downloadModel("owner/other", { endpoint: await hub(), output: folder })).rejects.toThrow("not found");
  const closed = await answer(200);
  await close();
  expect(await failure(closed)).toMatch(/cannot be reached: .*ECONNREFUSED/);
});

it("refuses a hub that lists no files, no commit and no checksum", async () => {
  const page = await serve((_request, response) => void response.end("<html>"));
  const run = (endpoint: string) => downloadModel("owner/name", { endpoint, output: folder, include: ["*"] });
  await expect(run(page)).rejects.toThrow("not a hub");
  for (const oid of [undefined, "0", `${"0".repeat(37)}/..`]) {
    const extra = [{ type: "file", path: "more.json", size: 3, oid }];
    await expect(run(await hub({ extra }))).rejects.toThrow("checksum of more.json");
  }
  await expect(run(await hub({ commits: { main: "../../x" } }))).rejects.toThrow("the commit of 'main'");
  expect(readdirSync(folder)).toEqual([]);
});

it("asks which of several GGUF files is meant", async () => {
  const oid = "0".repeat(40);
  const tree = ["a-Q4_0.gguf", "a-Q8_0.gguf"].map((path) => ({ type: "file", path, size: 1, oid }));
  const endpoint = await serve(({ url }, response) => {
    response.end(JSON.stringify(url!.includes("/tree/") ? tree : { sha: oid }));
  });
  await expect(downloadModel("owner/name", { endpoint, output: folder })).rejects.toThrow("choose with `include`");
});
