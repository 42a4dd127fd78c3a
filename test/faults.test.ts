// Faults and bad input: what must happen, shown on real runs. proofs/faults.js says where each fault is shown.
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
import type { Device } from "../src/runtime/index.js";
import { uploadTensors } from "../src/runtime/index.js";
import type { HostTensor } from "../src/tensor/index.js";
import { BlockTrainer } from "../src/training/block-trainer.js";
import { cpuDevice } from "./numerics/evaluate.js";
import { type ReferenceCase, readAdapterOf, readCase } from "./numerics/vectors.js";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const TINY = join(ROOT, "models/tiny");

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
  type Values = (factor: "A" | "B", was: Float32Array) => Float32Array;
  const firstOfB =
    (value: number): Values =>
    (factor, was) =>
      was.map((x, i) => (factor === "B" && i === 0 ? value : x));
  const neither = { loss: false, gradNorm: false };
  const CASES: readonly [string, { finite: object; parameters?: Values; loss?: number }][] = [
    ["NaN in a parameter", { finite: neither, parameters: firstOfB(Number.NaN) }],
    ["Inf in a parameter", { finite: neither, parameters: firstOfB(Number.POSITIVE_INFINITY) }],
    // With B zero the output is the base's, and so is the loss; B's gradient is as large as A x, its square beyond fp32.
    [
      "Inf in the gradient alone",
      {
        finite: { loss: true, gradNorm: false },
        parameters: (factor, was) => was.map(() => (factor === "B" ? 0 : 1e30)),
      },
    ],
    ["Inf in the loss alone", { finite: { loss: false, gradNorm: true }, loss: Number.POSITIVE_INFINITY }],
  ];

  it.each(CASES)(
    "%s: the step is not applied, nothing has changed, and sound parameters train on",
    async (_, { finite, parameters: values, loss: injected }) => {
      const own = await cpuDevice();
      const { device, injectNext } = injectable(own);
      try {
        const reference = readCase("llama3");
        const trainer = smallTrainer(device, reference);
        const take = () => trainer.step([reference.rows], { lr: 1e-2, maxGradNorm: 1 });
        expect((await take()).applied).toBe(true);
        const sound = await trainer.state();
        const parameters = values ? changed(sound.parameters, values) : sound.parameters;
        await trainer.restore({ ...sound, parameters });
        if (injected !== undefined) injectNext(injected);
        const { applied, loss, gradNorm } = await take();
        expect({ loss: Number.isFinite(loss), gradNorm: Number.isFinite(gradNorm) }).toEqual(finite);
        expect(applied).toBe(false);
        const after = await trainer.state();
        expect(after.step).toBe(1);
        expect(bytesOf(after.parameters)).toEqual(bytesOf(parameters));
        expect(sound.slots.size).toBe(2);
        for (const [name, slot] of sound.slots) expect(bytesOf(after.slots.get(name)!), name).toEqual(bytesOf(slot));
        await trainer.restore(sound);
        expect(await take()).toMatchObject({ applied: true });
      } finally {
        await own.dispose();
      }
    },
  );

  function smallTrainer(device: Device, reference: ReferenceCase): BlockTrainer {
    const { lora, tensors } = readAdapterOf(reference, "qv");
    const weights = uploadTensors(device, reference.weights);
    return new BlockTrainer(
      { device, config: reference.config, weights },
      {
        trainables: { kind: "lora", lora },
        initial: tensors,
        optimizer: { betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 },
        seed: 1,
      },
    );
  }

  /** A device whose next download can be made to begin with another number: the first of a step is its losses. */
  function injectable(own: Device): { device: Device; injectNext: (value: number) => void } {
    const next: number[] = [];
    const download: Device["download"] = async (view) => {
      const data = await own.download(view);
      for (const value of next.splice(0)) data[0] = value;
      return data;
    };
    const of = (target: Device, key: keyof Device) => {
      if (key === "download") return download;
      const value = target[key];
      return typeof value === "function" ? value.bind(target) : value;
    };
    return { device: new Proxy(own, { get: of as never }), injectNext: (value) => void next.push(value) };
  }

  function changed(parameters: ReadonlyMap<string, HostTensor>, values: Values): Map<string, HostTensor> {
    return new Map(
      [...parameters].map(([name, tensor]) => {
        const factor = name.endsWith("lora_B.weight") ? "B" : "A";
        return [name, { ...tensor, data: values(factor, tensor.data as Float32Array) }];
      }),
    );
  }
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
