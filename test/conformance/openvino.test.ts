import { describe, expect, it } from "vitest";
import { gradient } from "../../src/graph/index.js";
import { lossHead } from "../../src/models/index.js";
import { openvinoEngine } from "../../src/node/openvino.js";
import { findOpenvino } from "../../src/node/openvino-library.js";
import { CommandExecutor, hostMemory, QueueDevice } from "../../src/runtime/index.js";
import { f32ToBf16 } from "../../src/tensor/index.js";
import { fill } from "./cases.js";
import { relativeError } from "./finite-difference.js";
import { CONFIGS, modelCases, valuesFor } from "./models.js";
import { type Evaluate, inFloat64, onDevice } from "./run.js";

const library = findOpenvino();
if (!library) console.log("OpenVINO was not found on this machine: its tests are skipped (pip install openvino)");

/** Every program on OpenVINO: the precision that a device reduces to is what it stands on. */
function evaluateIn(precision: "f32" | "bf16"): Evaluate {
  const processMemory = () => ({ resident: 0, peak: 0 });
  const engine = openvinoEngine({ library: library!, threads: 1, precision });
  const device = new QueueDevice(
    new CommandExecutor(engine, hostMemory(), { device: "openvino", processMemory }),
    "cpu",
    {
      reduced: "openvino",
    },
  );
  const compile = device.compile.bind(device);
  return onDevice(Object.assign(device, { compile: (f: Parameters<typeof compile>[0]) => compile(f, "reduced") }));
}

function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const dot = (x: ArrayLike<number>, y: ArrayLike<number>) =>
    Array.from(x, (v, i) => v * y[i]!).reduce((s, v) => s + v);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}

const STEP = /^(attentionInput|selfAttention|attentionOutput|lossHead)/;

describe.skipIf(!library)("what a training step computes on OpenVINO", () => {
  describe.each(Object.entries(CONFIGS))("of a model with %s", (_, config) => {
    it.each(modelCases(config).filter((c) => STEP.test(c.name)))("$name and its gradient", async (c) => {
      const { forward, backward } = gradient(c.f, c.wrt, "cheap");
      const values = await inFloat64(forward, c.inputs);
      const seeds = Object.fromEntries(
        Object.entries(c.f.outputs).map(([name, v]) => [`d_${name}`, fill(name, v.shape)]),
      );
      const feeds = { ...c.inputs, ...values, ...seeds };
      const gradients = c.wrt.length ? await inFloat64(backward, feeds) : {};
      for (const precision of ["f32", "bf16"] as const) {
        const evaluate = evaluateIn(precision);
        const results = await evaluate(forward, c.inputs);
        const found = { ...results, ...(c.wrt.length ? await evaluate(backward, feeds) : {}) };
        for (const [name, { data }] of Object.entries({ ...values, ...gradients })) {
          const expected = Array.from(data, Number);
          const got = Array.from(found[name]!.data, Number);
          if (precision === "f32") expect(relativeError(got, expected), name).toBeLessThan(1e-4);
          else expect(cosine(got, expected), name).toBeGreaterThan(0.999);
        }
      }
    });

    it("lossHead whose head, logits and probabilities are stored as bfloat16", async () => {
      const f = lossHead(config, 7, 3);
      const inputs = valuesFor(f, config);
      const expected = await inFloat64(f, inputs);
      const head = inputs["lm_head.weight"]!;
      const stored = { dtype: "bf16", shape: head.shape, data: f32ToBf16(head.data as Float32Array) } as const;
      const half = lossHead(config, 7, 3, { dtype: "bf16" });
      const found = await evaluateIn("bf16")(half, { ...inputs, "lm_head.weight": stored });
      const [loss, exact] = [found, expected].map((r) => Number(r.loss!.data[0])) as [number, number];
      expect(Math.abs(loss - exact) / exact).toBeLessThan(0.01);
      const [rows, exactRows] = [found, expected].map((r) => Array.from(r.d_rows!.data, Number));
      expect(cosine(rows!, exactRows!)).toBeGreaterThan(0.999);
    });
  });
});
