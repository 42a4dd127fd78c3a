import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Files } from "../../src/formats/files.js";
import { nodeFiles } from "../../src/node/files.js";
import { loadModel, loraFinetune } from "../../src/node/index.js";
import { nodePlatform } from "../../src/node/platform.js";
import type { Platform } from "../../src/platform/platform.js";
import type { Device } from "../../src/runtime/index.js";
import { UserError } from "../../src/tensor/index.js";
import { type LoadBaseOptions, loadBase } from "../../src/weights/load-base.js";
import { openModel } from "../../src/weights/model-folder.js";
import { TINY, tinyRun } from "../tiny-run.js";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
let folder: string;
let base: string;
let platform: Platform;
let device: Device;
const at = (...names: string[]) => join(folder, ...names);
const cache = () => join(base, ".lowrank-cache");
const file = () => join(cache(), "model.nf4.safetensors");

beforeAll(async () => {
  platform = nodePlatform();
  device = await platform.startDevice({ device: "cpu", threads: 1 });
});
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-cache-"));
  base = at("model");
  mkdirSync(base);
  for (const name of readdirSync(TINY).filter((name) => /\.(json|safetensors|jinja)$/.test(name)))
    cpSync(join(TINY, name), join(base, name));
  return () => rmSync(folder, { recursive: true, force: true });
});
afterAll(async () => {
  await device.dispose();
  await platform.dispose();
});

/** What is held, to the byte, what was said, and which tensors of the model's own files were read. */
async function load(options: LoadBaseOptions = {}, files: Files = nodeFiles) {
  const open = await openModel(nodeFiles, base);
  const notes: string[] = [];
  const read: string[] = [];
  const tensors = {
    ...open.tensors,
    read: (name: string, target?: Float32Array) => {
      read.push(name);
      return open.tensors.read(name, target);
    },
  };
  const before = (await device.memory()).buffers;
  try {
    const resident = await loadBase(
      { ...platform, files },
      device,
      { ...open, tensors },
      {
        basePrecision: "nf4",
        baseCache: true,
        onNote: (note) => notes.push(note),
        ...options,
      },
    );
    const values: Record<string, string> = {};
    for (const [name, view] of resident.weights) {
      const data = (await device.download(view)) as Float32Array;
      values[name] = `${view.codec} ${createHash("sha256").update(new Uint8Array(data.buffer)).digest("hex")}`;
      device.free(view.buffer);
    }
    expect((await device.memory()).buffers).toBe(before);
    return { values, notes, read };
  } finally {
    await open.close();
  }
}

const KEPT = expect.stringMatching(
  /^base_cache: .*model\.nf4\.safetensors keeps the base for the next run \(\d+(\.\d)? MB\)$/,
);

describe("hit", () => {
  it.each([
    ["f16", false],
    ["int8", false],
    ["nf4", false],
    ["nf4", true],
  ] as const)(
    "%s (double quantisation: %s): the same bytes without the model's own files being read",
    async (basePrecision, bnb4bitUseDoubleQuant) => {
      const options = { basePrecision, bnb4bitUseDoubleQuant };
      const plain = await load({ ...options, baseCache: false });
      const [first, second] = [await load(options), await load(options)];
      expect(plain.notes).toEqual([]);
      expect(first.notes).toHaveLength(1);
      expect(first.values).toEqual(plain.values);
      expect(second).toEqual({ values: plain.values, notes: [], read: [] });
      expect(readdirSync(cache())).toEqual([`model.${bnb4bitUseDoubleQuant ? "nf4_dq" : basePrecision}.safetensors`]);
    },
  );

  it("a folder of one's own, made when it is not there; each precision has its file", async () => {
    await load({ baseCache: at("a/b") });
    await load({ baseCache: at("a/b"), basePrecision: "int8" });
    expect(readdirSync(at("a/b"))).toEqual(["model.int8.safetensors", "model.nf4.safetensors"]);
    expect((await load({ baseCache: at("a/b") })).read).toEqual([]);
    expect(existsSync(cache())).toBe(false);
  });

  it("somebody's weights of the same name are neither used nor overwritten", async () => {
    const path = at("theirs/model.nf4.safetensors");
    mkdirSync(at("theirs"));
    copyFileSync(join(TINY, "model.safetensors"), path);
    await expect(load({ baseCache: at("theirs") })).rejects.toThrow(
      `base_cache: ${path} holds weights that lowrank did not keep there; name another folder`,
    );
    expect(readFileSync(path)).toEqual(readFileSync(join(TINY, "model.safetensors")));
    expect(readdirSync(at("theirs"))).toEqual(["model.nf4.safetensors"]);
  });

  it("training gives the same bytes without the cache, making it, and with it", async () => {
    const run = async (name: string, baseCache: boolean) => {
      const notes: string[] = [];
      const options = tinyRun(at(name), { base, maxSteps: 3, basePrecision: "nf4", baseCache });
      for await (const event of loraFinetune(options)) if (event.type === "note") notes.push(event.message);
      return { adapter: readFileSync(at(name, "adapter/adapter_model.safetensors")), notes };
    };
    const [plain, made, kept] = [await run("plain", false), await run("made", true), await run("kept", true)];
    expect(made.adapter.equals(plain.adapter)).toBe(true);
    expect(kept.adapter.equals(plain.adapter)).toBe(true);
    expect(made.notes).toContainEqual(KEPT);
    expect(kept.notes).toEqual(plain.notes);
  });

  it("loadModel and the flag take it too", async () => {
    for (const notes of [1, 0]) {
      const said: string[] = [];
      const model = await loadModel(base, {
        threads: 1,
        basePrecision: "nf4",
        baseCache: true,
        onNote: (m) => said.push(m),
      });
      await model.dispose();
      expect(said).toHaveLength(notes);
    }
    const args = ["generate", "--base", base, "--base-precision", "nf4", "--bnb-4bit-use-double-quant"];
    const cli = async (...more: string[]) => {
      const child = spawn(process.execPath, [
        join(ROOT, "bin/lowrank.js"),
        ...args,
        ...more,
        "--prompt",
        "Who",
        "--max-new-tokens",
        "4",
      ]);
      let [out, err] = ["", ""];
      child.stdout.on("data", (text) => (out += text));
      child.stderr.on("data", (text) => (err += text));
      expect(await new Promise((resolve) => child.on("close", resolve)), err).toBe(0);
      return { out, err };
    };
    const [plain, made, kept] = [await cli(), await cli("--base-cache"), await cli("--base-cache")];
    expect(made.err).toContain("model.nf4_dq.safetensors keeps the base for the next run");
    expect(kept.err).not.toContain("base_cache");
    expect([made.out, kept.out]).toEqual([plain.out, plain.out]);
  });
});

describe("stale", () => {
  it("weights that were changed, by their time alone too: it is made again, and said", async () => {
    const before = await load();
    const weights = join(base, "model.safetensors");
    const { size, atime, mtime } = statSync(weights);
    const bytes = readFileSync(weights);
    bytes[bytes.length - 1]! ^= 1;
    writeFileSync(weights, bytes);
    utimesSync(weights, atime, mtime); // as tools do that keep times: the entry's own time still tells
    expect(statSync(weights).size).toBe(size);
    const { notes, values, read } = await load();
    expect(notes).toEqual([
      `${file()}: the model's files are others now: the base is made again from the model's files`,
      KEPT,
    ]);
    expect(read).not.toEqual([]);
    expect(values).not.toEqual(before.values);
    expect((await load()).values).toEqual(values);
  });

  it("a file that came with a model, or of another format, is not believed", async () => {
    await load();
    const kept = readFileSync(file());
    const text = (from: string, to: string) => {
      expect(from.length).toBe(to.length);
      const copy = Buffer.from(kept);
      copy.write(to, copy.indexOf(from), "latin1");
      writeFileSync(file(), copy);
    };
    text('"format_version":"1"', '"format_version":"7"');
    expect((await load()).notes[0]).toContain("it was kept by another version");
    text('"held_as":"nf4"', '"held_as":"nf5"');
    expect((await load()).notes[0]).toContain("it was kept by another version");
    text("modified", "modifies");
    expect((await load()).notes[0]).toContain("the model's files are others now");
    text("up_proj", "UP_proj");
    const { notes, values } = await load();
    expect(notes[0]).toMatch(/is not in|does not hold/);
    expect((await load()).values).toEqual(values);
  });
});

function flipped(bytes: Buffer, fromEnd: number): Buffer {
  bytes[bytes.length - fromEnd]! ^= 4;
  return bytes;
}

describe("damaged", () => {
  it.each([
    ["a bit of a weight", (bytes: Buffer) => flipped(bytes, 5000), "is damaged"],
    ["a bit of a sum", (bytes: Buffer) => flipped(bytes, 5), "is damaged"],
    ["cut short", (bytes: Buffer) => bytes.subarray(0, bytes.length - 1), "past the end of the file"],
    ["empty", () => Buffer.alloc(0), "too few for a header"],
    ["something else", () => Buffer.from("x".repeat(100)), "not a sound safetensors file"],
  ] as [string, (bytes: Buffer) => Buffer, string][])("%s: it is made again, and said", async (_, damage, says) => {
    const { values } = await load();
    const bytes = readFileSync(file());
    writeFileSync(file(), damage(bytes));
    const again = await load();
    expect(again.notes).toEqual([expect.stringContaining(says), KEPT]);
    expect(again.notes[0]).toContain(file());
    expect(again.values).toEqual(values);
    expect((await load()).notes).toEqual([]);
  });

  it("what a killed run left is removed", async () => {
    mkdirSync(cache());
    writeFileSync(join(cache(), "model.int8.safetensors.lowrank.partial"), "half");
    writeFileSync(join(cache(), "theirs.partial"), "half");
    await load();
    expect(readdirSync(cache())).toEqual(["model.nf4.safetensors", "theirs.partial"]);
  });

  it("killed while writing: no file of that name, and the next run makes it", async () => {
    const script = `import { nodePlatform } from ${JSON.stringify(join(ROOT, "dist/node/platform.js"))};
      import { openModel } from ${JSON.stringify(join(ROOT, "dist/weights/model-folder.js"))};
      import { loadBase } from ${JSON.stringify(join(ROOT, "dist/weights/load-base.js"))};
      const platform = nodePlatform();
      const device = await platform.startDevice({ device: "cpu", threads: 1 });
      const open = await openModel(platform.files, ${JSON.stringify(base)});
      let left = 5;
      await loadBase(platform, device, open, { basePrecision: "nf4", baseCache: true, onProgress: () => --left || process.kill(process.pid, "SIGKILL") });`;
    writeFileSync(at("killed.mjs"), script);
    const child = spawn(process.execPath, [at("killed.mjs")]);
    expect(await new Promise((resolve) => child.on("close", (_code, signal) => resolve(signal)))).toBe("SIGKILL");
    expect(readdirSync(cache()).sort()).toEqual([".lock", "model.nf4.safetensors.lowrank.partial"]);
    expect((await load()).notes).toEqual([KEPT]);
    expect(readdirSync(cache())).toEqual(["model.nf4.safetensors"]);
  });
});

describe("a folder that does not take it", () => {
  it("cannot be written to: a word with the way out, and the base is loaded all the same", async () => {
    writeFileSync(cache(), "a file where the folder would be");
    const { notes, values } = await load();
    expect(notes).toEqual([
      expect.stringMatching(
        /^base_cache: the base is not kept: .*cannot be made.*; name a folder that can be written to: base_cache=FOLDER$/,
      ),
    ]);
    expect(values).toEqual((await load({ baseCache: false })).values);
  });

  it("fault: the disk is full half-way: an error that says how much room it takes; nothing is left behind", async () => {
    const full: Files = {
      ...nodeFiles,
      write: (path, content) =>
        nodeFiles.write(
          path,
          (async function* () {
            let written = 0;
            for await (const chunk of content as AsyncIterable<Uint8Array>) {
              written += chunk.length;
              if (written > 20_000) throw Object.assign(new Error("write"), { code: "ENOSPC" });
              yield chunk;
            }
          })(),
        ),
    };
    const failed = load({}, full);
    await expect(failed).rejects.toThrow(UserError);
    await expect(failed).rejects.toThrow(
      /the disk is full.*base_cache: it takes 0\.\d\d GB; give it a folder with room, or leave it out/,
    );
    expect(existsSync(cache())).toBe(false);
  });

  it("another run is writing there: this one does without, and says so", async () => {
    const unlock = await platform.lock(cache());
    const { notes, values } = await load();
    expect(notes).toEqual([`base_cache: the base is not kept: another run is writing to ${cache()}`]);
    expect(readdirSync(cache())).toEqual([".lock"]);
    await unlock();
    expect((await load()).values).toEqual(values);
  });

  it("two at the same time give the same weights, and one sound file", async () => {
    const both = await Promise.all(
      [1, 2].map(async () => {
        const open = await openModel(nodeFiles, base);
        const resident = await loadBase(platform, device, open, { basePrecision: "nf4", baseCache: true });
        await open.close();
        return resident;
      }),
    );
    for (const { weights } of both) for (const { buffer } of weights.values()) device.free(buffer);
    expect(readdirSync(cache())).toEqual(["model.nf4.safetensors"]);
    expect((await load()).read).toEqual([]);
  });

  it("a weight that the precision cannot hold is that error, not the disk's", async () => {
    const open = await openModel(nodeFiles, base);
    const tensors = {
      ...open.tensors,
      read: async (name: string, target?: Float32Array) => (await open.tensors.read(name, target)).fill(Number.NaN),
    };
    const failed = loadBase(platform, device, { ...open, tensors }, { basePrecision: "nf4", baseCache: true });
    await expect(failed).rejects.toThrow(/cannot be stored as/);
    await expect(failed).rejects.not.toThrow("base_cache");
    expect(existsSync(cache())).toBe(false);
    await open.close();
  });

  it("is refused where the model's own file is read as fast", async () => {
    await expect(load({ basePrecision: "f32" })).rejects.toThrow("with base_precision f32 leave it out");
    await expect(load({ basePrecision: "native" })).rejects.toThrow("with base_precision native leave it out");
  });
});
