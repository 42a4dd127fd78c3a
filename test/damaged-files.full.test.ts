// Files that are not what they should be: whatever they are, an error is typed, names the file, comes soon and has no
// stack trace.
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Io } from "../src/cli/io.js";
import { main } from "../src/cli/main.js";
import { configFromHf } from "../src/formats/hf/config.js";
import { readAdapter } from "../src/formats/peft/adapter.js";
import { nodeFiles } from "../src/node/files.js";
import { UserError } from "../src/tensor/index.js";
import { createTokenizer } from "../src/tokenizers/tokenizer.js";
import { openModel } from "../src/weights/model-folder.js";
import { TINY } from "./tiny-run.js";

const VECTORS = fileURLToPath(new URL("reference/vectors/llama3/", import.meta.url));
let folder: string;
let socket: Server;
const at = (...parts: string[]) => join(folder, ...parts);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-damaged-"));
  cpSync(TINY, at("model"), { recursive: true });
  cpSync(join(VECTORS, "all"), at("adapter"), { recursive: true });
  writeFileSync(at("model/special_tokens_map.json"), JSON.stringify({ eos_token: "<|im_end|>" }));
  mkdirSync(at("folder"));
  symlinkSync("loop", at("loop"));
  symlinkSync("nowhere", at("dangling"));
  if (process.platform === "win32") return;
  execFileSync("mkfifo", [at("pipe")]);
  socket = createServer().listen(at("socket"));
  await new Promise((resolve) => socket.on("listening", resolve));
});
afterAll(() => {
  socket?.close();
  rmSync(folder, { recursive: true, force: true });
});

async function run(...argv: string[]): Promise<{ code: number; err: string }> {
  let err = "";
  const io: Io = { out: () => undefined, err: (text) => void (err += text), interactive: false, columns: 80 };
  return { code: await main(argv, io), err };
}

describe.skipIf(process.platform === "win32")("what is no regular file", () => {
  const NAMES = ["pipe", "socket", "loop", "dangling", "folder", "n".repeat(300), "a\0b", "model/config.json/x"];
  const paths = () => ["/dev/zero", "/dev/null", ...NAMES.map((name) => at(name))];
  const VERBS: Readonly<Record<string, (path: string) => string[]>> = {
    "validate FILE": (path) => ["validate", path],
    "train --config": (path) => ["train", "--config", path],
    "train --output": (path) => ["train", "--base", TINY, "--data", join(TINY, "data/train.jsonl"), "--output", path],
    "preview --base": (path) => ["preview", "--base", path, "--data", join(TINY, "data/train.jsonl")],
    "preview --data": (path) => ["preview", "--base", TINY, "--data", path],
    "eval --data": (path) => ["eval", "--base", TINY, "--data", path],
    inspect: (path) => ["inspect", path],
    import: (path) => ["import", path, "--base", TINY, "--output", at("out")],
    "merge --adapter": (path) => ["merge", "--base", TINY, "--adapter", path, "--output", at("out")],
    "generate --input": (path) => ["generate", "--base", TINY, "--input", path],
    "bench --workload": (path) => ["bench", "--workload", path],
  };

  it.each(Object.entries(VERBS))(
    "%s: refused in a word, neither waited for nor read without end",
    async (verb, argv) => {
      for (const path of paths()) {
        if (verb === "train --output" && path === at("folder")) continue;
        const began = process.cpuUsage();
        const { code, err } = await run(...argv(path));
        expect(err, `${verb} ${path}`).not.toMatch(/bug in lowrank|^ +at /m);
        expect(code, `${verb} ${path}: ${err}`).toBeGreaterThan(0);
        const { user, system } = process.cpuUsage(began);
        expect((user + system) / 1e6, `${verb} ${path}`).toBeLessThan(10);
      }
    },
  );
});

/** Every path to a value of a JSON document, to a depth of three. */
function pathsOf(json: unknown, depth = 3): string[][] {
  if (typeof json !== "object" || json === null || depth === 0) return [[]];
  const inner = Object.entries(json).slice(0, 40);
  return [[], ...inner.flatMap(([key, value]) => pathsOf(value, depth - 1).map((path) => [key, ...path]))];
}

function replaced(json: unknown, [key, ...rest]: readonly string[], value: unknown): unknown {
  if (key === undefined) return value;
  const copy = (Array.isArray(json) ? [...json] : { ...(json as object) }) as Record<string, unknown>;
  copy[key] = replaced(copy[key], rest, value);
  return copy;
}

describe("JSON that says something else", () => {
  const value = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.constantFrom(1.5, -1, 2 ** 53, 1e300, "toString", "__proto__", "\0", [{}], [null], { content: 1 }),
  );
  const open = async () => {
    const model = await openModel(nodeFiles, at("model"));
    try {
      const tokenizer = createTokenizer(model.tokenizer);
      tokenizer.decode(tokenizer.encode("Ada lives in Rome."));
    } finally {
      await model.close();
    }
  };
  const adapt = () => readAdapter(nodeFiles, at("adapter"), readConfig());
  const readConfig = () => configFromHf(JSON.parse(readFileSync(join(VECTORS, "model/config.json"), "utf8")), "c");

  it.each<[file: string, read: () => Promise<unknown>]>([
    ["model/config.json", open],
    ["model/generation_config.json", open],
    ["model/tokenizer_config.json", open],
    ["model/special_tokens_map.json", open],
    ["adapter/adapter_config.json", adapt],
  ])("%s: read, or a typed error that says where", async (file, read) => {
    const original = readFileSync(at(file), "utf8");
    const json = JSON.parse(original) as unknown;
    try {
      await read();
      await fc.assert(
        fc.asyncProperty(fc.constantFrom(...pathsOf(json)), value, async (path, other) => {
          writeFileSync(at(file), JSON.stringify(replaced(json, path, other)));
          const began = process.cpuUsage();
          const error = await read().catch((e: unknown) => e);
          const { user, system } = process.cpuUsage(began);
          expect((user + system) / 1e6).toBeLessThan(1);
          if (error === undefined || !(error instanceof Error)) return;
          expect(error, error.stack).toBeInstanceOf(UserError);
          expect(error.message).toMatch(new RegExp(`${at(file.split("/")[0]!)}|^tokenizer|^chat template`));
        }),
        { seed: 5, numRuns: 150 },
      );
    } finally {
      writeFileSync(at(file), original);
    }
  });
});
