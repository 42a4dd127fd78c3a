// Faults and bad input: what must happen, shown here on real runs, or in the test that the table names.
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loraFinetune, type TrainOptions } from "../src/node/index.js";
import type { HostTensor } from "../src/tensor/index.js";
import { BlockTrainer } from "../src/training/block-trainer.js";
import { cpuDevice, uploadTensors } from "./numerics/evaluate.js";
import { readAdapterOf, readCase } from "./numerics/vectors.js";
import { expectProof, type Proof } from "./proofs.js";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const TINY = join(ROOT, "models/tiny");
const [SAFETENSORS, GGUF, JSONL, CONFIG, FILES, RUNS, LOOP, SERVER] = [
  "src/checkpoint/safetensors.test.ts",
  "src/checkpoint/gguf.test.ts",
  "src/data/jsonl.test.ts",
  "src/recipes/config.test.ts",
  "src/node/files.test.ts",
  "test/recipes/runs.test.ts",
  "src/recipes/train-loop.test.ts",
  "test/serve/faults.test.ts",
];

const ELSEWHERE: readonly (readonly [fault: string, ...proofs: Proof[]])[] = [
  ["a safetensors header that lies", [SAFETENSORS, "a header that does not start with '{' is refused"]],
  ["safetensors offsets, shapes and names", [SAFETENSORS, "any mutation of a valid file gives a sound source"]],
  ["GGUF numbers and cuts", [GGUF, "GGUF with a hostile %s"], [GGUF, "a GGUF truncated at any byte of its header"]],
  ["a GGUF tensor past the end", [GGUF, "a GGUF truncated inside its tensors is refused before any is read"]],
  ["a pickle", ["src/checkpoint/model-folder.test.ts", "a payload that would leave a mark leaves none"]],
  ["a pickled adapter", ["src/checkpoint/peft.test.ts", "a pickled adapter is refused with the way to convert"]],
  ["paths out of the folder", ["src/checkpoint/model-folder.test.ts", "weight_map cannot lead out of the folder"]],
  ["links out of the folder", [FILES, "a symbolic link out of the folder is refused"]],
  ["a hostile chat template", ["src/node/template-runner.test.ts", "stops a template that %s, others served"]],
  ["YAML: keys", [CONFIG, "reports every problem at once with line, key and the nearest known key"]],
  ["YAML: duplicates and bombs", [CONFIG, "refuses a duplicate key"], [CONFIG, "stops an alias bomb"]],
  ["YAML: numbers", [CONFIG, "reads lr: 3e-4 as a number (a string in YAML 1.1)"]],
  ["JSONL: bytes and lines", [JSONL, "takes BOM, CRLF, empty lines"], [JSONL, "broken line, bad UTF-8"]],
  ["JSONL: a line of 200 MB", [JSONL, "200 MB line: refused without being held"]],
  ["JSONL: long rows", ["src/data/dataset.test.ts", "truncates, and counts rows whose targets are gone"]],
  ["JSONL: long rows, by policy", ["src/data/dataset.test.ts", "skips or fails, as asked"]],
  ["SIGKILL", [RUNS, "SIGKILL at any moment: the last complete checkpoint loads"]],
  ["SIGKILL in a write", [FILES, "killed at any step of replacing a folder"]],
  ["a full disk", [RUNS, "disk full, read-only folder"], [LOOP, "a full disk stops the run"]],
  ["not finite for good", [RUNS, "a loss that is not finite stops the run after three steps"]],
  ["two runs", [RUNS, "two runs into one output folder: the second is refused, and the first goes on"]],
  ["two runs at once", ["src/node/lock.test.ts", "of many parallel starts one wins"]],
  ["SIGINT", [RUNS, "SIGINT finishes the step, writes a checkpoint and says how to resume"]],
  ["a caller from elsewhere", [SERVER, "foreign Host: 403"], [SERVER, "foreign Origin: 403"]],
  [
    "no key beyond this machine",
    ["test/serve/cli.test.ts", "refuses wrong usage"],
    [SERVER, "the key guards every page"],
  ],
  ["a body that is too large or too deep", [SERVER, "100 MB body: 413"], [SERVER, "deep JSON, broken JSON"]],
  ["huge n or max_tokens", [SERVER, "huge n or max_tokens, and numbers that are none: 400"]],
  ["a slow client", [SERVER, "a slow client that never finishes"], [SERVER, "a request that takes too long is ended"]],
  ["a client gone", [SERVER, "a queue that is full: 429 with Retry-After; a client gone"]],
];

it.each(ELSEWHERE)("%s: proven where the table says", (...[, ...proofs]) => {
  for (const proof of proofs as Proof[]) expectProof(proof);
});

let folder: string;
const at = (...parts: string[]) => join(folder, ...parts);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-faults-"));
  const rows = readFileSync(join(TINY, "data/train.jsonl"), "utf8").split("\n").slice(0, 24).join("\n");
  writeFileSync(at("rows.jsonl"), `${rows}\n`);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const options = (name: string, more: Partial<TrainOptions> = {}): TrainOptions => ({
  base: TINY,
  outputDir: at(name),
  data: { train: at("rows.jsonl"), maxSeqLen: 64, packing: true },
  lora: { dropout: 0.1 },
  gradientAccumulationSteps: 2,
  batchSize: 2,
  maxSteps: 6,
  saveEvery: 2,
  keepLast: 3,
  threads: 1,
  ...more,
});

const sha256 = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex");
const adapterOf = (name: string) => sha256(at(name, "adapter/adapter_model.safetensors"));

/** Runs to the end; the notes it made. */
async function notesOf(settings: TrainOptions, resume = false): Promise<string[]> {
  const notes: string[] = [];
  for await (const event of loraFinetune(settings, { resume })) if (event.type === "note") notes.push(event.message);
  return notes;
}

describe("checkpoints of a real run", () => {
  let whole: string;
  beforeAll(async () => {
    await loraFinetune(options("whole")).result();
    whole = adapterOf("whole");
  });

  const damages: Record<string, (path: string) => void> = {
    "the state is cut short": (path) => truncateSync(join(path, "trainer_state.safetensors"), 5000),
    "one bit of the state is flipped": (path) => flipBit(join(path, "trainer_state.safetensors")),
    "one bit of the progress is flipped": (path) => flipBit(join(path, "trainer_state.json")),
    "the adapter is gone": (path) => rmSync(join(path, "adapter/adapter_model.safetensors")),
    "the seal is empty": (path) => writeFileSync(join(path, "complete.json"), ""),
  };

  it.each(Object.entries(damages))(
    "newest checkpoint truncated or bit-flipped (%s): the one before is used, it is said, and the bytes are the same",
    async (name, damage) => {
      const copy = name.replaceAll(" ", "-");
      cpSync(at("whole"), at(copy), { recursive: true });
      damage(at(copy, "checkpoints/step-6"));
      const notes = await notesOf(options(copy), true);
      expect(notes).toContainEqual(expect.stringMatching(/step-6 is damaged and passed over: /));
      expect(notes).toContainEqual(expect.stringContaining("resuming after step 4"));
      expect(adapterOf(copy)).toBe(whole);
      expect(notes.join()).not.toContain("undefined");
    },
  );

  it("every checkpoint damaged: said, and the run starts at the beginning, to the same bytes", async () => {
    cpSync(at("whole"), at("none"), { recursive: true });
    for (const step of [2, 4, 6]) flipBit(at(`none/checkpoints/step-${step}/trainer_state.safetensors`));
    const notes = await notesOf(options("none"), true);
    expect(notes).toContainEqual(expect.stringContaining("no sound checkpoint to resume from"));
    expect(adapterOf("none")).toBe(whole);
  });

  it("resume with another base, rank, data or batch is refused, naming the difference; nothing is touched", async () => {
    cpSync(TINY, at("base"), { recursive: true });
    flipBit(at("base/model.safetensors"));
    writeFileSync(at("other.jsonl"), readFileSync(at("rows.jsonl"), "utf8").replace("?", "!"));
    const others: Record<string, Partial<TrainOptions>> = {
      base: { base: at("base") },
      "lora.r": { lora: { dropout: 0.1, r: 4 } },
      "data.train": { data: { train: at("other.jsonl"), maxSeqLen: 64, packing: true } },
      "data.packing": { data: { train: at("rows.jsonl"), maxSeqLen: 64 } },
      gradient_accumulation_steps: { gradientAccumulationSteps: 1 },
    };
    const before = readFileSync(at("whole/config.yaml"), "utf8");
    for (const [key, other] of Object.entries(others)) {
      const refused = loraFinetune(options("whole", { ...other, maxSteps: 8 }), { resume: true }).result();
      await expect(refused, key).rejects.toThrow(new RegExp(`belongs to another run.*\n  ${key}: was .*, is `));
    }
    expect(adapterOf("whole")).toBe(whole);
    expect(readFileSync(at("whole/config.yaml"), "utf8")).toBe(before);
  });
});

describe("NaN and Inf", () => {
  it.each([Number.NaN, Number.POSITIVE_INFINITY])(
    "%s in a parameter: the step is not applied, nothing has changed, and sound parameters train on",
    async (bad) => {
      const device = await cpuDevice();
      try {
        const reference = readCase("llama3");
        const { lora, tensors } = readAdapterOf(reference, "qv");
        const weights = uploadTensors(device, reference.weights);
        const trainer = new BlockTrainer(
          { device, config: reference.config, weights },
          {
            trainables: { kind: "lora", lora },
            initial: tensors,
            optimizer: { betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 },
            seed: 1,
          },
        );
        const take = () => trainer.step([reference.rows], { lr: 1e-2, maxGradNorm: 1 });
        expect((await take()).applied).toBe(true);
        const sound = await trainer.state();
        const name = [...sound.parameters.keys()].find((key) => key.endsWith("lora_B.weight"))!;
        const injected = Float32Array.from(sound.parameters.get(name)!.data as Float32Array);
        injected[0] = bad;
        const parameters = new Map(sound.parameters).set(name, { ...sound.parameters.get(name)!, data: injected });
        await trainer.restore({ ...sound, parameters });
        expect((await take()).applied).toBe(false);
        const after = await trainer.state();
        expect(after.step).toBe(1);
        expect(bytesOf(after.parameters)).toEqual(bytesOf(parameters));
        expect(bytesOf(after.firstMoments)).toEqual(bytesOf(sound.firstMoments));
        expect(bytesOf(after.secondMoments)).toEqual(bytesOf(sound.secondMoments));
        await trainer.restore(sound);
        expect(await take()).toMatchObject({ applied: true });
      } finally {
        await device.dispose();
      }
    },
  );
});

describe("signals", () => {
  // A step of thousands of micro-batches: whoever waits for its end waits for many seconds.
  const slow = ["gradient_accumulation_steps=4000", "batch_size=16", "max_steps=2", "data.max_seq_len=64"];
  const many = () => {
    const rows = readFileSync(at("rows.jsonl"), "utf8").trim();
    writeFileSync(at("many.jsonl"), Array.from({ length: Math.ceil(2e6 / rows.length) }, () => rows).join("\n"));
    return `data.train=${at("many.jsonl")}`; // a step ends with its epoch: it takes many rows to make a long one
  };

  it("a second SIGINT stops at once, in the middle of a step, and the folder is free again", async () => {
    const child = start("twice", ...slow, many());
    let err = "";
    child.stderr!.on("data", (chunk) => (err += chunk));
    const said = async (text: string) => {
      while (!err.includes(text)) await once(child.stderr!, "data");
    };
    await said("training ");
    await new Promise((done) => setTimeout(done, 300));
    child.kill("SIGINT");
    await said("Ctrl-C again stops at once");
    const began = Date.now();
    child.kill("SIGINT");
    expect((await once(child, "close"))[0]).toBe(130);
    expect(Date.now() - began).toBeLessThan(2000);
    // What the kill cut off carries .partial and is never read.
    const left = existsSync(at("twice/checkpoints")) ? readdirSync(at("twice/checkpoints")) : [];
    expect(left.filter((name) => !name.endsWith(".partial"))).toEqual([]);
    // Its lock died with it.
    expect(await notesOf(options("twice", { maxSteps: 1 }), true)).toContainEqual(
      expect.stringContaining("no sound checkpoint"),
    );
  });
});

function start(name: string, ...more: string[]): ChildProcess {
  const fixed = ["train", "--base", TINY, "--data", at("rows.jsonl"), "--output", at(name), "threads=1"];
  const args = [join(ROOT, "bin/lowrank.js"), ...fixed, ...more];
  return spawn(process.execPath, args, { cwd: ROOT, stdio: ["ignore", "ignore", "pipe"] });
}

/** Flips one bit in the middle of a file. */
function flipBit(path: string): void {
  const bytes = readFileSync(path);
  bytes[bytes.length >> 1]! ^= 1;
  writeFileSync(path, bytes);
}

function bytesOf(tensors: ReadonlyMap<string, HostTensor>): Record<string, string> {
  return Object.fromEntries(
    [...tensors].map(([name, { data }]) => [
      name,
      Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("hex"),
    ]),
  );
}
