import { afterAll, expect, it } from "vitest";
import { readAdapter } from "../../src/formats/peft/adapter.js";
import {
  adapterSite,
  allTargets,
  type LoraConfig,
  linearLora,
  linearNames,
  parseModulePath,
} from "../../src/models/index.js";
import { nodeFiles } from "../../src/node/files.js";
import { uploadTensors } from "../../src/runtime/index.js";
import { evaStart } from "../../src/training/eva.js";
import { cpuDevice } from "./evaluate.js";
import { CASES as CASES_OF_FAMILIES, readCase, readJson, samplesOf, VECTORS } from "./vectors.js";

const { config, weights } = readCase("llama3");
const { rows } = readJson(`${VECTORS}starts/expected.json`) as { rows: { ids: number[]; supervised: number[] }[] };
const samples = samplesOf(rows);
const device = await cpuDevice();
const model = { device, config, weights: uploadTensors(device, weights) };
afterAll(() => device.dispose());

const DEFAULTS = { rho: 2, tau: 0.99, useLabelMask: true, whiten: false, adjustScalingFactors: true };
const plain = { dropout: 0, init: "eva", useRslora: false } as const;

/** As `EVA` and `EVA_BATCHES` of test/reference/make_adapters.py. */
const CASES: readonly [string, LoraConfig, typeof DEFAULTS, number[][]][] = [
  [
    "eva",
    { ...plain, r: 4, alpha: 8, targetModules: ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"] },
    DEFAULTS,
    [
      [0, 1, 2],
      [3, 4],
    ],
  ],
  [
    "eva-kept",
    {
      ...plain,
      r: 3,
      alpha: 6,
      useRslora: true,
      rankPattern: { down_proj: 5 },
      targetModules: ["q_proj", "down_proj"],
    },
    { ...DEFAULTS, rho: 1, useLabelMask: false, whiten: true },
    [[0, 1, 2, 3, 4]],
  ],
];

it.each(CASES)("%s: PEFT's ranks, alphas and, up to signs, its components", async (name, lora, settings, batches) => {
  const peft = await readAdapter(nodeFiles, `${VECTORS}starts/${name}`, config);
  const next = () => batches.map((batch) => batch.map((row) => samples[row]!));
  const found = await evaStart(model, lora, settings, { seed: 1, next });
  expect(found.converged).toBe(true);
  const adapted = [...peft.tensors.keys()].flatMap((key) => /^(.*)\.lora_A\.weight$/.exec(key)?.[1] ?? []);
  expect([...found.components.keys()].sort()).toEqual(adapted.sort());
  for (const path of adapted) {
    const [layer, linear] = parseModulePath(path)!;
    const [own, wanted] = [linearLora(found.lora, layer, linear)!, linearLora(peft.config, layer, linear)!];
    expect([own.r, own.alpha, own.scale], path).toEqual([wanted.r, wanted.alpha, wanted.scale]);
    const { in: width } = adapterSite(config, linear, own);
    const [a, b] = [found.components.get(path)!, peft.tensors.get(`${path}.lora_A.weight`)!.data as Float32Array];
    for (let k = 0; k < own.r; k++) {
      const row = (of: Float32Array) => of.subarray(k * width, (k + 1) * width);
      const [x, y] = [row(a), row(b)];
      const dot = x.reduce((sum, value, i) => sum + value * y[i]!, 0);
      const sizes = Math.hypot(...x) * Math.hypot(...y);
      expect(Math.abs(Math.hypot(...x) / Math.hypot(...y) - 1), `${path} ${k}`).toBeLessThan(1e-4);
      expect(1 - Math.abs(dot) / sizes, `${path} ${k}`).toBeLessThan(1e-6);
    }
  }
});

it.each(CASES_OF_FAMILIES)("%s: components of what every layer is given, orthogonal and of length 1", async (name) => {
  const { config, weights, rows } = readCase(name);
  const base = { device, config, weights: uploadTensors(device, weights) };
  const lora: LoraConfig = { ...plain, r: 2, alpha: 4, targetModules: linearNames(config) };
  const found = await evaStart(base, lora, { ...DEFAULTS, rho: 1 }, { seed: 1, next: () => [rows] });
  expect(found.components.size).toBe(allTargets(config).length);
  for (const [path, a] of found.components) {
    const width = a.length / 2;
    const dot = (i: number, j: number) =>
      a.subarray(i * width, (i + 1) * width).reduce((sum, x, k) => sum + x * a[j * width + k]!, 0);
    for (const [i, j, wanted] of [
      [0, 0, 1],
      [1, 1, 1],
      [0, 1, 0],
    ] as const)
      expect(dot(i, j), path).toBeCloseTo(wanted, 5);
  }
});

it("a micro-batch with fewer tokens than components is an error that says what to do", async () => {
  const [, lora, settings] = CASES[0]!;
  const run = evaStart(model, lora, settings, { seed: 1, next: () => [[samples[4]!]] });
  await expect(run).rejects.toThrow(/eva wants 8 components of what model\.layers\.0\..* take a larger batch_size/);
});
