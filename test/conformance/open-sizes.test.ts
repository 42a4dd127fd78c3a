import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Fn, gradient, OPEN, sized } from "../../src/graph/index.js";
import * as models from "../../src/models/index.js";
import { openvinoEngine } from "../../src/node/openvino.js";
import { findOpenvino } from "../../src/node/openvino-library.js";
import { CommandExecutor, type Device, hostMemory, QueueDevice, tensor } from "../../src/runtime/index.js";
import { fill } from "./cases.js";
import { relativeError } from "./finite-difference.js";
import { ADAPTED, CONFIGS, valuesFor } from "./models.js";
import { deviceHere, inFloat64, type Tensors } from "./run.js";

const library = findOpenvino();
if (!library) console.log("OpenVINO was not found on this machine: its tests are skipped (pip install openvino)");

function openvinoHere(): Device {
  const engine = openvinoEngine({ library: library!, threads: 1, precision: "f32" });
  const processMemory = () => ({ resident: 0, peak: 0 });
  return new QueueDevice(new CommandExecutor(engine, hostMemory(), { device: "openvino", processMemory }), "cpu", {
    reduced: "openvino",
  });
}

/** What a block and the head are made of, for n tokens. */
const PROGRAMS: Readonly<Record<string, (config: models.ModelConfig, n: number) => [Fn, readonly string[]]>> = {
  attentionInput: (config, n) => [
    models.attentionInput(config, n, ADAPTED),
    ["q_proj.lora_A.weight", "v_proj.lora_B.weight", "x"],
  ],
  selfAttention: (config, n) => [models.selfAttention(config, n), ["q", "k", "v"]],
  attentionOutput: (config, n) => [
    models.attentionOutput(config, n, ADAPTED),
    ["down_proj.lora_A.weight", "o_proj.lora_B.weight", "o", "x"],
  ],
  "all weights": (config, n) => [
    models.attentionOutput(config, n, {}),
    ["post_attention_layernorm.weight", "down_proj.weight", "o", "x"],
  ],
  lossHead: (config, n) => [models.lossHead(config, n, 3, { weightGradients: { norm: true, head: true } }), []],
};

const ENGINES = { "ONNX Runtime": () => deviceHere("cpu"), OpenVINO: async () => openvinoHere() };

describe.each(Object.entries(ENGINES))("programs of an open size on %s", (engine, start) => {
  let device: Device;
  const skipped = engine === "OpenVINO" && !library;
  beforeAll(async () => {
    if (!skipped) device = await start();
  });
  afterAll(() => device?.dispose());

  /** Compiles once; evaluates for any number of tokens. */
  function evaluator(f: Fn): (n: number, inputs: Tensors) => Promise<Tensors> {
    const program = device.compile(f, "reduced");
    return async (n, inputs) => {
      const fed = program.inputs.map((name) => {
        const { dtype, shape, data } = inputs[name]!;
        const view = tensor(device, dtype, shape);
        device.upload(view, data.slice());
        return [name, view] as const;
      });
      const made = program.outputs.map((name) => {
        const { dtype, shape } = f.outputs[name]!;
        return [name, tensor(device, dtype, sized(shape, n))] as const;
      });
      device.run(program, Object.fromEntries(fed), Object.fromEntries(made));
      const results: Record<string, Tensors[string]> = {};
      for (const [name, { dtype, shape, ...view }] of made)
        results[name] = { dtype, shape, data: await device.download({ dtype, shape, ...view }) };
      return results;
    };
  }

  describe.skipIf(skipped).each(Object.entries(CONFIGS))("of a model with %s", (_, config) => {
    it.each(Object.entries(PROGRAMS))("%s and its gradient are the same as for a fixed size", async (_, make) => {
      const [open, wrt] = make(config, OPEN);
      const differentiated = gradient(open, wrt, "cheap");
      const forward = evaluator(differentiated.forward);
      const backward = wrt.length ? evaluator(differentiated.backward) : undefined;
      for (const n of [7, 12, 6]) {
        const [fixed] = make(config, n);
        const pair = gradient(fixed, wrt, "cheap");
        const inputs = valuesFor(fixed, config);
        const values = await inFloat64(pair.forward, inputs);
        const seeds = Object.entries(fixed.outputs).map(([name, v]) => [`d_${name}`, fill(name, v.shape)]);
        const feeds = { ...inputs, ...values, ...Object.fromEntries(seeds) };
        const expected = backward ? { ...values, ...(await inFloat64(pair.backward, feeds)) } : values;
        const found = { ...(await forward(n, inputs)), ...(await backward?.(n, feeds)) };
        expect(Object.keys(found)).toEqual(Object.keys(expected));
        for (const [name, { data }] of Object.entries(expected))
          expect(relativeError(found[name]!.data, Array.from(data, Number)), `${name} of ${n}`).toBeLessThan(2e-5);
      }
    });
  });
});
