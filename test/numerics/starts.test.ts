import { afterAll, describe, expect, it } from "vitest";
import { type AdapterInit, B, INITS, type InitName, withProduct } from "../../src/adapters/index.js";
import { type Adapter, adaptedModule, adaptedModules, readAdapter } from "../../src/formats/peft/adapter.js";
import type { LinearName, LoraConfig } from "../../src/models/index.js";
import { nodeFiles } from "../../src/node/files.js";
import { uploadTensors } from "../../src/runtime/index.js";
import { f32, type HostTensor } from "../../src/tensor/index.js";
import { BlockTrainer } from "../../src/training/block-trainer.js";
import { initialAdapter, type StartValues } from "../../src/training/init.js";
import type { OptimizerSettings } from "../../src/training/optimizers/index.js";
import { onWholeBase } from "../../src/training/whole-base.js";
import { heldValues } from "../../src/weights/load-model.js";
import { cpuDevice } from "./evaluate.js";
import { readCase, readJson, readTensors, relativeError, samplesOf, type Training, VECTORS } from "./vectors.js";

const folder = `${VECTORS}starts`;
const base = readCase("llama3");
const { config } = base;
const { rows, ...trainings } = readJson(`${folder}/expected.json`) as {
  rows: { ids: number[]; supervised: number[] }[];
} & Record<string, Training>;
const samples = samplesOf(rows);
const expected = readTensors(`${folder}/expected.safetensors`);
const device = await cpuDevice();
const weights = uploadTensors(device, base.weights);
afterAll(() => device.dispose());

const lora = (init: InitName, more: Partial<LoraConfig> = {}): LoraConfig => ({
  r: 3,
  alpha: 7,
  dropout: 0,
  useRslora: false,
  init,
  targetModules: ["q_proj", "v_proj", "up_proj"],
  ...more,
});
const CONFIGS: Readonly<Record<string, LoraConfig>> = {
  pissa: lora("pissa"),
  olora: lora("olora", { r: 4, alpha: 2, targetModules: ["q_proj", "down_proj"] as LinearName[] }),
};
/** LoftQ's: what is held differs from the weights, so it has its own tests. */
const LOFTQ: Readonly<Record<string, readonly [LoraConfig, rounds: number]>> = {
  loftq: [lora("loftq", { r: 4, alpha: 4, targetModules: ["q_proj", "up_proj"] as LinearName[] }), 1],
  loftq3: [lora("loftq", { r: 4, alpha: 4, targetModules: ["v_proj", "down_proj"] as LinearName[] }), 3],
};
const read = async (name: string) => base.weights.get(name)!.data as Float32Array;

async function trainerOf(
  lora: LoraConfig,
  optimizer: OptimizerSettings = { betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0 },
) {
  const start = await initialAdapter(config, lora, 1, { read });
  const options = { trainables: { kind: "lora", lora }, optimizer, seed: 1, ...start } as const;
  return { start, trainer: new BlockTrainer({ device, config, weights }, options) };
}

/** scale B A of a module. */
function product(adapter: Adapter, module: string): Float32Array {
  const { a, b, r, scale, out, in: into } = adaptedModule(adapter, module)!;
  const values = new Float32Array(out * into);
  for (let o = 0; o < out; o++)
    for (let i = 0; i < into; i++) {
      let sum = 0;
      for (let k = 0; k < r; k++) sum += (b.data[o * r + k] as number) * (a.data[k * into + i] as number);
      values[o * into + i] = scale * sum;
    }
  return values;
}

const under = (prefix: string) =>
  [...expected].flatMap(([name, tensor]) =>
    name.startsWith(prefix) ? [[name.slice(prefix.length), tensor.data as Float32Array] as const] : [],
  );

describe.each(Object.keys(CONFIGS))("%s", (name) => {
  const lora = CONFIGS[name]!;

  it("starts with PEFT's part of the weight", async () => {
    const { initial } = await initialAdapter(config, lora, 1, { read });
    const adapter: Adapter = { config: lora, tensors: initial, base: {} };
    const wanted = under(`${name}.start.`);
    expect(wanted.length).toBe(lora.targetModules.length);
    for (const [module, start] of wanted)
      expect(relativeError(product(adapter, module), start), module).toBeLessThan(1e-5);
  });

  it("takes PEFT's ten AdamW steps, and is then plain LoRA of twice the rank, as PEFT converts it", async () => {
    const { betas, eps, weight_decay: weightDecay, max_grad_norm: maxGradNorm, ...steps } = trainings[name]!;
    const { trainer, start } = await trainerOf(lora, { betas, eps, weightDecay });
    for (const [i, step] of steps.micro_batches.entries()) {
      const batches = step.map((micro) => micro.map((row) => samples[row]!));
      const { loss, gradNorm } = await trainer.step(batches, { lr: steps.lr[i]!, maxGradNorm });
      expect(Math.abs(loss / steps.losses[i]! - 1), `step ${i}`).toBeLessThan(2e-4);
      expect(Math.abs(gradNorm / steps.grad_norms[i]! - 1), `step ${i}`).toBeLessThan(5e-3);
    }
    const { parameters } = await trainer.state();
    const made = onWholeBase({ config: lora, tensors: parameters, base: {} }, start.part);
    const peft = await readAdapter(nodeFiles, `${folder}/${name}`, config);
    expect(made.config).toEqual({ ...peft.config, targetModules: lora.targetModules });
    expect([...made.tensors].map(([key, { shape }]) => [key, shape]).sort()).toEqual(
      [...peft.tensors].map(([key, { shape }]) => [key, shape]).sort(),
    );
    for (const [module, change] of under(`${name}.change.`)) {
      expect(relativeError(product(made, module), change), module).toBeLessThan(5e-3);
      expect(relativeError(product(peft, module), change), module).toBeLessThan(1e-4);
    }
    const plain = new BlockTrainer(
      { device, config, weights },
      {
        trainables: { kind: "lora", lora: made.config },
        initial: made.tensors,
        optimizer: { betas, eps, weightDecay },
        seed: 1,
      },
    );
    const [trained, converted] = [await trainer.evaluate(samples), await plain.evaluate(samples)];
    expect(Math.abs(trained.lossSum / converted.lossSum - 1)).toBeLessThan(1e-5);
    for (const one of [trainer, plain]) await one.dispose();
  });
});

describe.each(Object.keys(LOFTQ))("%s", (name) => {
  const [lora, rounds] = LOFTQ[name]!;
  const held = (weight: string, values: Float32Array) => heldValues(weight, "nf4", values);

  /** The base as it is held for this start: its adapted layers as PEFT has them. */
  async function heldBase({ initial, taken }: Pick<StartValues, "initial" | "taken">) {
    const tensors = new Map(base.weights);
    for (const name of initial.keys()) {
      const weight = name.replace(/lora_[AB]\.weight$/, "weight");
      const whole = await read(weight);
      const found = taken.get(weight);
      const less = found ? await withProduct(whole, found.site, found.factors, -1) : whole;
      tensors.set(
        weight,
        f32(base.weights.get(weight)!.shape, (await held(weight, less)) as Float32Array<ArrayBuffer>),
      );
    }
    return uploadTensors(device, tensors);
  }

  it("starts with PEFT's factors of what nf4 loses", async () => {
    const start = await initialAdapter(config, lora, 1, { read, held, rounds });
    const adapter: Adapter = { config: lora, tensors: start.initial, base: {} };
    for (const [module, wanted] of under(`${name}.start.`)) {
      const made = product(adapter, module);
      expect(relativeError(made, wanted), module).toBeLessThan(1e-4);
    }
  });

  it("takes PEFT's ten AdamW steps on the held base; what is saved is what was learned, on the base as it is", async () => {
    const { betas, eps, weight_decay: weightDecay, max_grad_norm: maxGradNorm, ...steps } = trainings[name]!;
    const start = await initialAdapter(config, lora, 1, { read, held, rounds });
    const optimizer = { betas, eps, weightDecay };
    const trainer = new BlockTrainer(
      { device, config, weights: await heldBase(start) },
      { trainables: { kind: "lora", lora }, optimizer, seed: 1, initial: start.initial },
    );
    for (const [i, step] of steps.micro_batches.entries()) {
      const batches = step.map((micro) => micro.map((row) => samples[row]!));
      const { loss, gradNorm } = await trainer.step(batches, { lr: steps.lr[i]!, maxGradNorm });
      expect(Math.abs(loss / steps.losses[i]! - 1), `step ${i}`).toBeLessThan(2e-4);
      expect(Math.abs(gradNorm / steps.grad_norms[i]! - 1), `step ${i}`).toBeLessThan(5e-3);
    }
    const { parameters } = await trainer.state();
    const saved = onWholeBase({ config: lora, tensors: parameters, base: {} }, start.part);
    for (const [module, change] of under(`${name}.change.`))
      expect(relativeError(product(saved, module), change), module).toBeLessThan(5e-3);
    await trainer.dispose();
  });
});

/** The starts whose adapter changes nothing at first. */
const NEUTRAL = (Object.entries(INITS) as [InitName, AdapterInit][]).flatMap(([name, { residual, seesInputs }]) =>
  residual === "held" || seesInputs ? [] : [name],
);

describe.each(NEUTRAL)("every start: %s", (init) => {
  it.each([undefined, "dora"] as const)(
    "a fresh adapter changes nothing, and what is saved neither (kind %s)",
    async (kind) => {
      const { trainer, start } = await trainerOf(
        lora(init, { targetModules: ["v_proj", "down_proj"], ...(kind ? { kind } : {}) }),
      );
      const { lossSum } = await trainer.evaluate(samples);
      expect(Math.abs(lossSum / (await bareLoss()) - 1)).toBeLessThan(2e-6);
      const { parameters } = await trainer.state();
      const asked = lora(init, { targetModules: ["v_proj", "down_proj"] });
      const saved = onWholeBase({ config: asked, tensors: withoutMagnitudes(parameters), base: {} }, start.part);
      for (const { layer, name, scale, b } of adaptedModules(saved)) {
        expect(scale).toBeCloseTo(7 / 3, 12);
        const values = product(saved, `model.layers.${layer}.${name === "v_proj" ? "self_attn" : "mlp"}.${name}`);
        expect(Math.max(...values.map(Math.abs)), `${name} ${b.shape}`).toBeLessThan(1e-6);
      }
      await trainer.dispose();
    },
  );

  it("is drawn from the seed alone", async () => {
    const [one, same, other] = await Promise.all(
      [1, 1, 2].map((seed) => initialAdapter(config, lora(init), seed, { read })),
    );
    expect(one).toEqual(same);
    if (init === "gaussian" || init === "kaiming") expect(one).not.toEqual(other);
  });

  it("moves with the first step", async () => {
    const { trainer } = await trainerOf(lora(init));
    const before = (await trainer.state()).parameters;
    await trainer.step([samples], { lr: 1e-2, maxGradNorm: 1 });
    const after = (await trainer.state()).parameters;
    for (const [name, { data }] of after) if (name.endsWith(B)) expect(data, name).not.toEqual(before.get(name)!.data);
    await trainer.dispose();
  });
});

it("a rank that the weight has not is refused where the start is made of it", async () => {
  await expect(initialAdapter(config, lora("pissa", { r: 40 }), 1, { read })).rejects.toThrow(
    /lora\.r: pissa takes its start out of model\.layers\.0\.self_attn\.v_proj, which is \[32, 48\]/,
  );
});

async function bareLoss(): Promise<number> {
  const { trainer } = await trainerOf(lora("gaussian"));
  const { lossSum } = await trainer.evaluate(samples);
  await trainer.dispose();
  return lossSum;
}

const withoutMagnitudes = (tensors: ReadonlyMap<string, HostTensor>): Map<string, HostTensor> =>
  new Map(
    [...tensors]
      .filter(([name]) => /lora_[AB]/.test(name))
      .map(([name, { shape, data }]) => [name, f32(shape, data as Float32Array<ArrayBuffer>)]),
  );
