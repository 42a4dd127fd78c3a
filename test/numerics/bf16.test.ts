import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readAdapter } from "../../src/formats/peft/adapter.js";
import { define, gradient, mul, storedAsHalves } from "../../src/graph/index.js";
import { linear, ofValidRows, selfAttention } from "../../src/models/index.js";
import { nodeFiles } from "../../src/node/files.js";
import { type Device, tensor, type View } from "../../src/runtime/index.js";
import { bf16ToF32, f32, f32ToBf16, type HostTensor, random, sizeOf } from "../../src/tensor/index.js";
import { BlockTrainer } from "../../src/training/block-trainer.js";
import type { Trainables } from "../../src/training/layer-plan.js";
import { CONFIGS, valuesFor } from "../conformance/models.js";
import { cpuDevice, onCpu } from "./evaluate.js";
import { library, likeness, reducedDevice, rounded, uploadHalves } from "./reduced.js";
import {
  CASES,
  expectedUnder,
  readAdapterOf,
  readCase,
  readJson,
  readTensors,
  relativeError,
  VECTORS,
  worstError,
} from "./vectors.js";

describe.skipIf(!library)("precision: bf16 against PyTorch + PEFT in fp32", () => {
  let device: Device;
  let full: Device;
  beforeAll(async () => {
    [device, full] = [await reducedDevice(), await cpuDevice()];
  });
  afterAll(() => Promise.all([device.dispose(), full.dispose()]));

  describe.each(CASES)("%s", (name) => {
    const reference = readCase(name);
    it.each(["qv", "all", "full"] as const)(
      "%s: loss within 1%%, every gradient as near as rounding allows",
      async (variant) => {
        const adapter = variant === "full" ? undefined : readAdapterOf(reference, variant);
        const trainables: Trainables = adapter ? { kind: "lora", lora: adapter.lora } : { kind: "full" };
        const values = adapter?.tensors ?? reference.weights;
        const expected = expectedUnder(reference, `${variant}.grad.`);
        for (const key of expected.keys()) if (key.startsWith("inputs_embeds")) expected.delete(key);
        const trainerOn = (on: Device, initial: typeof values, checkpointing: boolean) => {
          const weights = adapter ? uploadHalves(on, reference.weights) : new Map<string, View>();
          const optimizer = { betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0 } as const;
          const model = { device: on, config: reference.config, weights };
          return new BlockTrainer(model, { trainables, initial, optimizer, checkpointing, seed: 1 });
        };
        const gradientsOf = async (trainer: BlockTrainer) => {
          const { gradients } = await trainer.gradientsOf([reference.rows]);
          return new Map([...gradients].map(([key, { data }]) => [key, data as Float32Array]));
        };
        // How far the gradients move where nothing but the matrices is rounded: what such a model makes of any rounding.
        const rounding = trainerOn(full, new Map([...values].map(([key, tensor]) => [key, rounded(tensor)])), false);
        const { error: unavoidable } = worstError(await gradientsOf(rounding), expected);
        await rounding.dispose();
        for (const checkpointing of variant === "all" ? [false, true] : [false]) {
          const trainer = trainerOn(device, values, checkpointing);
          const found = await gradientsOf(trainer);
          const worst = worstError(found, expected);
          expect(worst.error, worst.name).toBeLessThan(5 * unavoidable);
          expect(Math.abs(likeness(found, expected).norm - 1)).toBeLessThan(0.04);
          const { loss_sum } = reference.variants[variant === "full" ? "base" : variant];
          const { lossSum } = await trainer.evaluate(reference.rows);
          expect(Math.abs(lossSum / loss_sum - 1)).toBeLessThan(0.01);
          await trainer.dispose();
        }
      },
    );
  });

  it("DoRA: loss within 1%, gradient within 0.999, also of the magnitudes alone", async () => {
    const reference = readCase("bias");
    const folder = `${VECTORS}dora`;
    const { config: lora, tensors } = await readAdapter(nodeFiles, `${folder}/all`, reference.config);
    const trainer = new BlockTrainer(
      { device, config: reference.config, weights: uploadHalves(device, reference.weights) },
      {
        trainables: { kind: "lora", lora },
        initial: tensors,
        optimizer: { betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0 },
        seed: 1,
      },
    );
    const { rows, all } = readJson(`${folder}/expected.json`) as {
      rows: { ids: number[]; supervised: number[] }[];
      all: { loss_sum: number };
    };
    const samples = rows.map(({ ids, supervised }, index) => ({
      index,
      ids: Int32Array.from(ids),
      supervised: Uint8Array.from(supervised),
    }));
    const { gradients } = await trainer.gradientsOf([samples]);
    const expected = expectedUnder(
      { ...reference, expected: readTensors(`${folder}/expected.safetensors`) },
      "all.grad.",
    );
    const found = new Map([...gradients].map(([key, { data }]) => [key, data as Float32Array]));
    const magnitudes = new Map([...expected].filter(([key]) => key.endsWith("lora_magnitude_vector")));
    for (const wanted of [expected, magnitudes]) {
      const { cosine, norm } = likeness(found, wanted);
      expect(cosine).toBeGreaterThan(0.999);
      expect(Math.abs(norm - 1)).toBeLessThan(0.02);
    }
    const { lossSum } = await trainer.evaluate(samples);
    expect(Math.abs(lossSum / all.loss_sum - 1)).toBeLessThan(0.01);
    await trainer.dispose();
  });

  it("DoRA: what a magnitude has learnt is not lost, though it is less than bf16's step at 1", async () => {
    const [n, out, into] = [64, 32, 32];
    const config = { ...readCase("bias").config, hiddenSize: into, headDim: out, numAttentionHeads: 1 };
    const f = define("layer", (declare) => {
      const lora = { q_proj: { kind: "dora", r: 2, alpha: 1, scale: 0.5 } } as const;
      return { y: linear(declare, config, "q_proj", declare("x", [n, into]), { lora }) };
    });
    const program = device.compile(f, "reduced");
    const rng = random(5, "magnitude");
    const noise = (shape: readonly number[]) => Float32Array.from({ length: sizeOf(shape) }, () => rng.normal());
    const fixed = new Map(Object.entries(f.inputs).map(([name, { shape }]) => [name, noise(shape)]));
    fixed.get("q_proj.lora_B.weight")!.fill(0);
    fixed.get("q_proj.bias")!.fill(0);
    fixed.get("q_proj.weight_norm")!.fill(5.3);
    const made = async (magnitude: number) => {
      const views = program.inputs.map((name) => {
        const view = tensor(device, "f32", f.inputs[name]!.shape);
        const value = name.endsWith("magnitude_vector") ? fixed.get(name)!.fill(magnitude) : fixed.get(name)!;
        device.upload(view, value.slice());
        return [name, view] as const;
      });
      const y = tensor(device, "f32", [n, out]);
      device.run(program, Object.fromEntries(views), { y });
      return (await device.download(y)) as Float32Array;
    };
    const [start, learnt] = [await made(5.3), await made(5.3 * 1.001)];
    let [dot, square] = [0, 0];
    start.forEach((value, i) => {
      dot += value * (learnt[i]! - value);
      square += value * value;
    });
    expect(dot / square).toBeGreaterThan(0.0008);
    expect(dot / square).toBeLessThan(0.0012);
  });

  it("rows of all lengths in one micro-batch: loss and gradient as of each alone", async () => {
    const reference = readCase(CASES[0]!);
    const { lora, tensors } = readAdapterOf(reference, "all");
    const config = { ...reference.config, maxPositionEmbeddings: 512 };
    const rows = [7, 400, 19, 64, 5, 401, 33, 12].map((length, index) => ({
      index,
      ids: Int32Array.from({ length }, (_, i) => (7 * i + 13 * index) % config.vocabSize),
      supervised: new Uint8Array(length).fill(1, 2),
    }));
    const trainer = new BlockTrainer(
      { device, config, weights: uploadHalves(device, reference.weights) },
      {
        trainables: { kind: "lora", lora },
        initial: tensors,
        optimizer: { betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0 },
        checkpointing: false,
        seed: 1,
      },
    );
    const values = async (batches: (typeof rows)[]) => {
      const { loss, gradients } = await trainer.gradientsOf(batches);
      return { loss, gradients: new Map([...gradients].map(([key, { data }]) => [key, data as Float32Array])) };
    };
    const alone = await values(rows.map((row) => [row]));
    const together = await values([rows]);
    expect(Math.abs(together.loss / alone.loss - 1)).toBeLessThan(0.001);
    const { cosine, norm } = likeness(together.gradients, alone.gradients);
    expect(cosine).toBeGreaterThan(0.9999);
    expect(Math.abs(norm - 1)).toBeLessThan(0.005);
    await trainer.dispose();
  });

  it("a weight that is stored as bfloat16 is what it was rounded to, also where rows are gathered", async () => {
    const rng = random(1, "table");
    const values = Float32Array.from({ length: 12 }, () => rng.normal());
    const rounded = bf16ToF32(f32ToBf16(values));
    const f = storedAsHalves(
      define("halves", (d) => ({ y: mul(d("x", [3, 4]), d("one", [1])) })),
      (name) => name !== "one",
    );
    expect([f.inputs.x!.dtype, f.inputs.one!.dtype, f.outputs.y!.dtype]).toEqual(["bf16", "f32", "bf16"]);
    const program = device.compile(f, "reduced");
    const [x, one, y] = [tensor(device, "bf16", [3, 4]), tensor(device, "f32", [1]), tensor(device, "bf16", [3, 4])];
    device.upload(x, f32ToBf16(values));
    device.upload(one, Float32Array.of(1));
    device.run(program, { x, one }, { y });
    expect(bf16ToF32((await device.download(y)) as Uint16Array)).toEqual(rounded);
  });
});

describe("attention over a span that is longer than its sample", () => {
  it.each(Object.entries(CONFIGS))(
    "of a model with %s: the sample's results and gradients as without, 0 behind",
    async (_, config) => {
      const [length, span] = [5, 8];
      const long = gradient(selfAttention(config, span), ["q", "k", "v"]);
      const short = gradient(selfAttention(config, length), ["q", "k", "v"]);
      const inputs = valuesFor(selfAttention(config, span), config);
      const cut = valuesFor(selfAttention(config, length), config);
      for (const name of ["q", "k", "v"]) cut[name] = firstRows(inputs[name]!, length);
      const dO = f32(long.forward.outputs.o!.shape, noise(long.forward.outputs.o!.shape));
      const valid = f32(
        [span, 1, 1],
        Float32Array.from({ length: span }, (_, i) => Number(i < length)),
      );
      const forward = { long: await run(long.forward, inputs), short: await run(short.forward, cut) };
      const found = await run(ofValidRows(long.backward), { ...inputs, ...forward.long, d_o: dO, valid });
      const expected = await run(short.backward, { ...cut, ...forward.short, d_o: firstRows(dO, length) });
      expect(
        relativeError(firstRows(forward.long.o!, length).data as Float32Array, forward.short.o!.data as Float32Array),
      ).toBeLessThan(1e-6);
      for (const name of ["d_q", "d_k", "d_v"]) {
        const data = found[name]!.data as Float32Array;
        const own = firstRows(found[name]!, length).data as Float32Array;
        expect(relativeError(own, expected[name]!.data as Float32Array), name).toBeLessThan(1e-6);
        expect(
          data.slice(own.length).every((x) => x === 0),
          name,
        ).toBe(true);
      }
    },
  );
});

const noise = (shape: readonly number[]): Float32Array => {
  const rng = random(9, "d_o");
  return Float32Array.from({ length: shape.reduce((n, d) => n * d, 1) }, () => rng.normal());
};

function firstRows({ dtype, shape, data }: HostTensor, rows: number): HostTensor {
  const width = shape.slice(1).reduce((n, d) => n * d, 1);
  return { dtype, shape: [rows, ...shape.slice(1)], data: data.slice(0, rows * width) };
}

async function run(f: Parameters<typeof onCpu>[0], inputs: Record<string, HostTensor>) {
  const results = await onCpu(f, new Map(Object.entries(inputs)));
  return Object.fromEntries(
    [...results].map(([name, data]) => [name, f32(f.outputs[name]!.shape, Float32Array.from(data))]),
  ) as Record<string, HostTensor>;
}
