import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Fn, gradient, type OpName } from "../../src/graph/index.js";
import type { Provider } from "../../src/onnx/index.js";
import type { Device } from "../../src/runtime/index.js";
import { CASES, type Case, fill } from "./cases.js";
import { relativeError } from "./finite-difference.js";
import { CONFIGS, modelCases, WIDE } from "./models.js";
import { deviceHere, type Evaluate, inFloat64, onDevice, type Tensors } from "./run.js";
import { trainingStep } from "./training-step.js";

/** fp32 keeps about 7 digits; the sums here are short. */
const TOLERANCE = 1e-5;

interface Options {
  /** Names of cases that the device has no hardware for. */
  readonly without?: readonly string[];
  /** Default: a device in this thread, over the host's memory. */
  readonly open?: () => Promise<Device>;
}

/** Everything that the project computes, on one provider of ONNX Runtime or its C library, against the float64 interpreter. */
export function conformance(backend: Provider | "native", options: Options = {}): void {
  const { without = [], open = () => deviceHere(backend) } = options;
  let device: Device;
  let evaluate: Evaluate;
  let kept: Device;
  // one program stays loaded: an engine that ends with its last session would compile its shaders anew for every test
  beforeAll(async () => {
    kept = await open();
    kept.compile(CASES.neg[0]!.f);
    await kept.flush();
  });
  afterAll(() => kept.dispose());
  beforeEach(async () => {
    device = await open();
    evaluate = onDevice(device);
  });
  afterEach(() => device.dispose());

  async function compare(what: string, f: Fn, inputs: Tensors, tolerance: number): Promise<Tensors> {
    const expected = await inFloat64(f, inputs);
    const found = await evaluate(f, inputs);
    for (const name of Object.keys(expected)) {
      const error = relativeError(found[name]!.data, Array.from(expected[name]!.data, Number));
      expect(error, `${what}: ${name}`).toBeLessThan(tolerance);
    }
    return expected;
  }

  async function compareWithGradient({ name: what, f, inputs, wrt, tolerance = TOLERANCE }: Case): Promise<void> {
    if (!wrt.length) return void (await compare(what, f, inputs, tolerance));
    const { forward, backward } = gradient(f, wrt, "cheap");
    const results = await compare(what, forward, inputs, tolerance);
    const seeds = Object.fromEntries(Object.entries(f.outputs).map(([name, v]) => [`d_${name}`, fill(name, v.shape)]));
    await compare(`gradient of ${what}`, backward, { ...inputs, ...results, ...seeds }, tolerance);
  }

  it.each(Object.keys(CASES) as OpName[])("%s and its gradient", async (op) => {
    const cases = CASES[op].filter(({ name }) => !without.includes(name));
    for (const c of cases) await compareWithGradient(c);
  });

  it.each(Object.entries(CONFIGS))("a whole training step of a model with %s", async (_, config) => {
    const expected = await trainingStep(config, inFloat64);
    const found = await trainingStep(config, evaluate);
    expect(Object.keys(found)).toEqual(Object.keys(expected));
    for (const name of Object.keys(expected)) {
      const error = relativeError(found[name]!.data, Array.from(expected[name]!.data, Number));
      expect(error, name).toBeLessThan(1e-4);
    }
  });

  describe.each(Object.entries(CONFIGS))("a model with %s", (_, config) => {
    it.each(modelCases(config))("$name and its gradient", (c) => compareWithGradient(c));
  });

  it("large results, in memory that programs share: each program right, also after the others", async () => {
    const cases = modelCases(WIDE, 96).filter((c) => /^(self|attention)/i.test(c.name));
    expect(cases.length).toBeGreaterThanOrEqual(5);
    for (const c of [...cases, cases[0]!]) await compareWithGradient(c);
  });
}
