import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import type { IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  COMMIT,
  config,
  createServers,
  gitId,
  HUB_VARIABLES,
  hubHandler,
  sha256,
  weights,
} from "../../../test/fake-hub.js";
import { nodeFiles } from "../files.js";
import { resolveModel, resolvePath } from "../paths.js";
import { downloadModel } from "./download.js";

const { serve, close } = createServers();

let home: string;
let repository: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "lowrank-cache-"));
  repository = join(home, "hf/hub/models--owner--name");
  for (const name of HUB_VARIABLES) vi.stubEnv(name, undefined);
  vi.stubEnv("HOME", join(home, "user"));
  vi.stubEnv("USERPROFILE", join(home, "user"));
  vi.stubEnv("HF_HOME", join(home, "hf"));
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await close();
  rmSync(home, { recursive: true, force: true });
});

/** Files as a model has them, in a folder. */
function model(folder: string, files: Readonly<Record<string, string>> = { "config.json": "{}", "a.safetensors": "" }) {
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

function snapshot(commit: string, refs: readonly string[], files?: Readonly<Record<string, string>>): string {
  for (const ref of refs) model(join(repository, "refs"), { [ref]: commit });
  return model(join(repository, "snapshots", commit), files);
}

describe("a download", () => {
  it("leaves blobs, links to them and a ref, as huggingface_hub does", async () => {
    const endpoint = await serve(hubHandler());
    const folder = await downloadModel("owner/name", { endpoint });
    expect(folder).toBe(join(repository, "snapshots", COMMIT));
    expect(readFileSync(join(repository, "refs/main"), "utf8")).toBe(COMMIT);
    expect(readlinkSync(join(folder, "config.json"))).toBe(`../../blobs/${gitId(config)}`);
    expect(readlinkSync(join(folder, "model.safetensors"))).toBe(`../../blobs/${sha256(weights)}`);
    expect(readFileSync(join(folder, "model.safetensors"))).toEqual(weights);
    expect(readdirSync(join(repository, "blobs")).sort()).toEqual([gitId(config), sha256(weights)].sort());
    expect(resolveModel("owner/name")).toBe(folder);
    expect(await nodeFiles.inside(folder, "model.safetensors")).toBe(join(folder, "model.safetensors"));
  });

  it("continues a blob that was cut off, whoever began it", async () => {
    const seen: IncomingMessage[] = [];
    const endpoint = await serve(hubHandler({ seen }));
    mkdirSync(join(repository, "blobs"), { recursive: true });
    writeFileSync(join(repository, "blobs", `${sha256(weights)}.incomplete`), weights.subarray(0, 1234));
    const folder = await downloadModel("owner/name", { endpoint });
    expect(seen.at(-1)!.headers.range).toBe("bytes=1234-");
    expect(readFileSync(join(folder, "model.safetensors"))).toEqual(weights);
    expect(readdirSync(join(repository, "blobs")).filter((name) => name.endsWith(".incomplete"))).toEqual([]);
  });

  it("of another commit fetches only what is new, and keeps the old one", async () => {
    const [old, seen] = ["a".repeat(40), [] as IncomingMessage[]];
    const commits: Record<string, string> = { main: old, v2: COMMIT };
    const endpoint = await serve(hubHandler({ seen, commits }));
    const first = await downloadModel("owner/name", { endpoint });
    seen.length = 0;
    const second = await downloadModel("owner/name@v2", { endpoint });
    expect(seen.some(({ url }) => url!.includes("/resolve/"))).toBe(false);
    expect([first, second].map((path) => path.slice(-40))).toEqual([old, COMMIT]);
    expect(["owner/name", "owner/name@v2", `owner/name@${old}`].map(resolveModel)).toEqual([first, second, first]);
    commits.main = COMMIT;
    expect(await downloadModel("owner/name", { endpoint, revision: "main" })).toBe(second);
    expect(resolveModel("owner/name")).toBe(second);
  });

  it("takes a branch with a slash, a commit, and refuses two revisions at once", async () => {
    const endpoint = await serve(hubHandler({ commits: { main: COMMIT, "refs/pr/3": COMMIT } }));
    await downloadModel("owner/name@refs/pr/3", { endpoint });
    expect(readFileSync(join(repository, "refs/refs/pr/3"), "utf8")).toBe(COMMIT);
    await downloadModel(`owner/name@${COMMIT}`, { endpoint });
    expect(readdirSync(join(repository, "refs"))).toEqual(["refs"]);
    await expect(downloadModel("owner/name@a", { endpoint, revision: "b" })).rejects.toThrow("give one of them");
    await expect(downloadModel("owner/name", { endpoint, revision: "../x" })).rejects.toThrow(
      "no branch, tag or commit",
    );
  });

  it("leaves copies where links are not made", async () => {
    vi.stubEnv("HF_HUB_DISABLE_SYMLINKS", "1");
    const folder = await downloadModel("owner/name", { endpoint: await serve(hubHandler()) });
    expect(lstatSync(join(folder, "model.safetensors")).isSymbolicLink()).toBe(false);
    expect(readFileSync(join(folder, "model.safetensors"))).toEqual(weights);
  });

  it("waits for another of the same repository, and both end well", async () => {
    const seen: IncomingMessage[] = [];
    const endpoint = await serve(hubHandler({ seen, delay: 300 }));
    const runs = [1, 2].map(() => downloadModel("owner/name", { endpoint }));
    expect(new Set(await Promise.all(runs)).size).toBe(1);
    expect(seen.filter(({ url }) => url!.endsWith("model.safetensors"))).toHaveLength(1);
    const stop = new AbortController();
    const held = downloadModel("owner/name", { endpoint: await serve(hubHandler({ delay: 600, body: weights })) });
    setTimeout(() => stop.abort(), 50);
    await Promise.allSettled([held, downloadModel("owner/name", { endpoint, signal: stop.signal })]);
    expect(existsSync(join(home, "hf/hub/.locks/models--owner--name/.lock"))).toBe(false);
  });

  it("of what is there whole needs no cache that can be written to; any other says what the disk refuses", async () => {
    const endpoint = await serve(hubHandler());
    const folder = await downloadModel("owner/name", { endpoint });
    rmSync(join(home, "hf/hub/.locks"), { recursive: true, force: true });
    writeFileSync(join(home, "hf/hub/.locks"), "no folder can be made here");
    expect(await downloadModel("owner/name", { endpoint })).toBe(folder);
    rmSync(join(folder, "config.json"));
    await expect(downloadModel("owner/name", { endpoint })).rejects.toThrow(/.locks.* cannot be made/);
    const output = join(home, "hf/hub/.locks/model");
    await expect(downloadModel("owner/name", { endpoint, output })).rejects.toThrow(
      `${output}: part of the path is a file`,
    );
  });

  it("goes to LOWRANK_MODELS as plain folders where that is set", async () => {
    vi.stubEnv("LOWRANK_MODELS", join(home, "own"));
    const endpoint = await serve(hubHandler({ commits: { main: COMMIT, v2: COMMIT } }));
    expect(await downloadModel("owner/name", { endpoint })).toBe(join(home, "own/owner/name"));
    expect(await downloadModel("owner/name", { endpoint, revision: "v2" })).toBe(join(home, "own/owner/name@v2"));
    expect(resolveModel("owner/name@v2")).toBe(join(home, "own/owner/name@v2"));
    expect(existsSync(join(home, "hf"))).toBe(false);
  });
});

describe("offline", () => {
  it.each(["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])(
    "%s: nothing is requested, and the message says so",
    async (name) => {
      vi.stubEnv(name, "1");
      const seen: IncomingMessage[] = [];
      const endpoint = await serve(hubHandler({ seen }));
      await expect(downloadModel("owner/name", { endpoint })).rejects.toThrow(
        `${name} is set, so nothing is requested`,
      );
      expect(() => resolveModel("owner/name")).toThrow(`${name} is set; without it: lowrank download owner/name`);
      const folder = snapshot("abc", ["main"]);
      expect(await downloadModel("owner/name", { endpoint })).toBe(folder);
      await expect(downloadModel("owner/name", { endpoint, output: home })).rejects.toThrow("without `output`");
      expect(seen).toEqual([]);
    },
  );
});

describe("a base", () => {
  it.each([
    ["HF_HUB_CACHE", "cache", "cache"],
    ["HUGGINGFACE_HUB_CACHE", "cache", "cache"],
    ["HF_HOME", "home", "home/hub"],
    ["HF_HOME", "$HOME/home", "user/home/hub"],
    ["XDG_CACHE_HOME", "xdg", "xdg/huggingface/hub"],
    ["HOME", "user", "user/.cache/huggingface/hub"],
  ])("is found by %s=%s", (name, value, place) => {
    vi.stubEnv("HF_HOME", undefined);
    vi.stubEnv(name, value.startsWith("$") ? value : join(home, value));
    repository = join(home, place, "models--owner--name");
    const folder = snapshot("abc", ["main"]);
    expect(resolveModel("owner/name")).toBe(folder);
  });

  it("is the folder here, the shared cache, then what earlier versions left", () => {
    const earlier = model(join(home, "user/.cache/lowrank/models/owner/name"));
    expect(resolveModel("owner/name")).toBe(earlier);
    const shared = snapshot("abc", ["main"]);
    expect(resolveModel("owner/name")).toBe(shared);
    vi.stubEnv("LOWRANK_MODELS", model(join(home, "own/owner/name")).slice(0, -"owner/name".length));
    expect(resolveModel("owner/name")).toBe(join(home, "own/owner/name"));
    expect(resolveModel("models/tiny")).toMatch(/models[/\\]tiny$/);
  });

  it("can be a file of a repository", () => {
    const folder = snapshot("abc", ["main"], { "small-Q8_0.gguf": "", "more/large-Q8_0.gguf": "" });
    expect(resolveModel("owner/name/small-Q8_0.gguf")).toBe(join(folder, "small-Q8_0.gguf"));
    expect(resolveModel("owner/name/more/large-Q8_0.gguf@main")).toBe(join(folder, "more/large-Q8_0.gguf"));
    expect(resolvePath("owner/name/small-Q8_0.gguf")).toBe(join(folder, "small-Q8_0.gguf"));
    expect(["owner/other", "./x"].map(resolvePath)).toEqual(["owner/other", "./x"]);
    expect(() => resolveModel("owner/name/none.gguf")).toThrow("lowrank download owner/name `include: 'none.gguf'`");
    expect(() => resolveModel("owner/name/../../x")).toThrow("is not a folder or file here");
  });

  it("that is incomplete is refused with what is missing", () => {
    const index = JSON.stringify({ weight_map: { a: "model-1.safetensors", b: "model-2.safetensors" } });
    const files = { "config.json": "{}", "model.safetensors.index.json": index, "model-1.safetensors": "" };
    const folder = snapshot("abc", ["main"], files);
    expect(() => resolveModel("owner/name")).toThrow(`${folder} is without model-2.safetensors; run: lowrank download`);
    symlinkSync("../../blobs/gone", join(folder, "model-2.safetensors"));
    expect(() => resolveModel("owner/name")).toThrow("is without model-2.safetensors");
    snapshot("def", ["main"], { "config.json": "{}" });
    expect(() => resolveModel("owner/name")).toThrow("is without its weights");
    model(join(home, "user/.cache/lowrank/models/owner/name"));
    expect(resolveModel("owner/name")).toContain("lowrank");
  });

  it("of a revision that is not there is refused with those that are", () => {
    snapshot("abc", ["v1"]);
    snapshot("def", []);
    expect(() => resolveModel("owner/name")).toThrow("has of owner/name: v1, def; run: lowrank download owner/name");
    expect(() => resolveModel("owner/name@v3")).toThrow("run: lowrank download owner/name@v3");
    expect(resolveModel("owner/name@def")).toContain("def");
    writeFileSync(join(repository, "refs/main"), "../../../../..");
    expect(() => resolveModel("owner/name")).toThrow("nor in the Hugging Face cache");
  });

  it("may have its bytes in the blobs that all repositories of a cache share, and nowhere else", async () => {
    const folder = snapshot("abc", ["main"], {});
    const shared = join(home, "hf/hub/blobs/ab", "ab".repeat(32));
    model(dirname(shared), { ["ab".repeat(32)]: "shared" });
    model(home, { outside: "private" });
    mkdirSync(folder, { recursive: true });
    symlinkSync(shared, join(folder, "a.safetensors"));
    symlinkSync(join(home, "outside"), join(folder, "b.safetensors"));
    expect(await nodeFiles.inside(folder, "a.safetensors")).toBe(join(folder, "a.safetensors"));
    await expect(nodeFiles.inside(folder, "b.safetensors")).rejects.toThrow("leads out of the folder");
  });
});
