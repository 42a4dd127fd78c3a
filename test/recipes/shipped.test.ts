import { expect, it } from "vitest";
import { loadConfig, shippedConfigs } from "../../src/cli/configs.js";
import { type Fn, verify } from "../../src/graph/index.js";
import { type LlamaConfig, weightShapes } from "../../src/models/index.js";
import { toOnnx } from "../../src/onnx/index.js";
import { resolveTargets } from "../../src/recipes/targets.js";
import { type Device, type Program, tensor, type View } from "../../src/runtime/index.js";
import { f32, sizeOf } from "../../src/tensor/index.js";
import { BlockTrainer } from "../../src/training/block-trainer.js";
import { type Trainables, trainableShapes } from "../../src/training/layer-plan.js";

// hidden, intermediate, layers, heads, key-value heads, vocabulary, tied: from the models' config.json on the hub.
const MODELS: Record<string, readonly [number, number, number, number, number, number, boolean]> = {
  "llama2/7B_lora": [4096, 11008, 32, 32, 32, 32000, false],
  "llama2/7B_qlora": [4096, 11008, 32, 32, 32, 32000, false],
  "llama2/13B_lora": [5120, 13824, 40, 40, 40, 32000, false],
  "llama3/8B_lora": [4096, 14336, 32, 32, 8, 128256, false],
  "llama3_1/8B_lora": [4096, 14336, 32, 32, 8, 128256, false],
  "llama3_1/8B_qlora": [4096, 14336, 32, 32, 8, 128256, false],
  "llama3_2/1B_lora": [2048, 8192, 16, 32, 8, 128256, true],
  "llama3_2/3B_lora": [3072, 8192, 28, 24, 8, 128256, true],
  "tinyllama/1_1B_lora": [2048, 5632, 22, 32, 4, 32000, false],
  "smollm2/135M_lora": [576, 1536, 30, 9, 3, 49152, true],
  "smollm2/360M_lora": [960, 2560, 32, 15, 5, 49152, true],
  "smollm2/1_7B_lora": [2048, 8192, 24, 32, 32, 49152, true],
  "tiny/lora": [128, 352, 3, 4, 2, 512, true],
  "tiny/pretrain": [128, 352, 3, 4, 2, 512, true],
};

function modelOf(name: string): LlamaConfig {
  const [hiddenSize, intermediateSize, layers, heads, kvHeads, vocabSize, tied] = MODELS[name]!;
  return {
    vocabSize,
    hiddenSize,
    intermediateSize,
    numHiddenLayers: layers,
    numAttentionHeads: heads,
    numKeyValueHeads: kvHeads,
    headDim: hiddenSize / heads,
    rmsNormEps: 1e-5,
    ropeTheta: 10000,
    maxPositionEmbeddings: 8192,
    tieWordEmbeddings: tied,
    attentionBias: false,
    mlpBias: false,
  };
}

/** A device without memory or engine: it checks and lowers every program it is asked for, and that each is fed whole. */
function dryDevice(): { device: Device; programs: Program[] } {
  const programs: Program[] = [];
  let buffers = 0;
  const device: Device = {
    provider: "cpu",
    precision: "full",
    allocate: (bytes) => ({ id: buffers++, bytes }),
    free() {},
    compile(f: Fn) {
      verify(f);
      expect(toOnnx(f, "cpu").length).toBeGreaterThan(0);
      const names = (named: Iterable<readonly [string, unknown]>) => [...named].map(([name]) => name);
      const program = {
        id: programs.length,
        name: f.name,
        inputs: names(Object.entries(f.inputs)),
        outputs: names(Object.entries(f.outputs)),
      };
      programs.push(program);
      return program;
    },
    updates: () => [],
    bind: (views) => ({ id: 0, names: new Set(Object.keys(views)) }),
    unbind() {},
    release() {},
    run(program, inputs) {
      expect(Object.keys(inputs)).toEqual(expect.arrayContaining([...program.inputs]));
    },
    upload() {},
    copy() {},
    openFile: ({ bytes }) => ({ id: buffers++, bytes, inFile: true }),
    prefetch() {},
    decodeRows() {},
    copyPositions() {},
    dropoutMask() {},
    apart: async (record) => record(),
    download: async (view: View) => new Float32Array(sizeOf(view.shape)),
    flush: async () => {},
    memory: async () => ({ resident: 0, peak: 0, buffers: 0 }),
    dispose: async () => {},
  };
  return { device, programs };
}

async function dryStep(name: string): Promise<BlockTrainer> {
  const config = await loadConfig(name, []);
  const model = modelOf(name);
  const { targetModules, layersToTransform, excludeModules, ...rest } = config.lora;
  const targets = resolveTargets({ targetModules, layersToTransform, excludeModules }, model);
  const trainables: Trainables = config.fullFinetune
    ? { kind: "full" }
    : { kind: "lora", lora: { ...rest, ...targets } };
  const { device, programs } = dryDevice();
  const weights = new Map([...weightShapes(model)].map(([key, shape]) => [key, tensor(device, "f32", shape)]));
  const zeros = (shape: readonly number[]) => f32(shape, new Float32Array(sizeOf(shape)));
  const initial = new Map([...trainableShapes(model, trainables)].map(([key, shape]) => [key, zeros(shape)]));
  const { checkpointing, optimizer, seed } = config;
  const trainer = new BlockTrainer(
    { device, config: model, weights: config.fullFinetune ? new Map() : weights },
    { trainables, initial, optimizer, checkpointing, seed },
  );
  const sample = { index: 0, ids: Int32Array.of(1, 2, 3), supervised: Uint8Array.of(0, 1, 1) };
  await trainer.step([[sample]], { lr: 1e-4, maxGradNorm: 1 });
  expect(programs.length).toBeGreaterThan(5);
  return trainer;
}

it("every shipped config has its model here", () => {
  expect(Object.keys(MODELS).sort()).toEqual(shippedConfigs());
});

it.each(shippedConfigs())("%s is valid and its graphs can be built and lowered", async (name) => {
  expect((await dryStep(name)).trainableParameters).toBeGreaterThan(0);
});

it("Llama-2-7B with r = 8 on q and v trains 4,194,304 parameters, 0.06% of the model", async () => {
  const { trainableParameters, totalParameters } = await dryStep("llama2/7B_lora");
  expect(trainableParameters).toBe(4_194_304);
  expect(totalParameters).toBe(6_738_415_616 + 4_194_304);
  expect((100 * trainableParameters) / totalParameters).toBeCloseTo(0.06, 2);
});
