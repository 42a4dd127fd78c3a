import { describe, expect, it } from "vitest";
import { analytic, directional, normal } from "../../test/conformance/finite-difference.js";
import { ADAPTED, CONFIGS, distillCases, modelCases, valuesFor } from "../../test/conformance/models.js";
import { define, interpret, topological } from "../graph/index.js";
import { f32 } from "../tensor/index.js";
import { attentionInput, distillHead, linear, lossHead, ropeTables, selfAttention } from "./index.js";
import { loraScale } from "./lora-config.js";

const near = ({ numeric, analytic: exact }: { numeric: number; analytic: number }) =>
  expect(Math.abs(numeric - exact) / Math.max(1, Math.abs(numeric)), `${numeric} and ${exact}`).toBeLessThan(1e-7);

describe.each(Object.entries(CONFIGS))("a model with %s", (_, config) => {
  it.each(modelCases(config).filter((c) => c.wrt.length))(
    "$name: gradients equal central differences, with B not zero and dropout on",
    ({ f, inputs, wrt }) => {
      for (const save of ["cheap", "none"] as const) near(directional(f, inputs, wrt, analytic(f, inputs, wrt, save)));
      for (const name of wrt) near(directional(f, inputs, [name], analytic(f, inputs, [name], "cheap")));
    },
  );

  it("lossHead: the gradient written by hand equals central differences of the loss", () => {
    const [n, m] = [7, 3];
    const f = lossHead(config, n, m, { weightGradients: { norm: true, head: true } });
    const inputs = valuesFor(f, config);
    const found = interpret(f, inputs);
    const loss = lossHead(config, n, m, { forwardOnly: true });
    const d = config.hiddenSize;
    const dx = new Float64Array(n * d);
    (inputs.rows!.data as BigInt64Array).forEach((row, i) => {
      for (let j = 0; j < d; j++) dx[Number(row) * d + j]! += found.d_rows!.data[i * d + j]!;
    });
    const scale = seedOf(loss);
    const gradients = { ...found, d_x: { shape: [n, d], data: dx } };
    for (const name of ["x", "norm.weight", "lm_head.weight"]) {
      const { numeric, analytic: exact } = directional(loss, inputs, [name], gradients);
      near({ numeric: numeric / scale, analytic: exact });
    }
    expect(interpret(loss, inputs).loss!.data[0]).toBeCloseTo(found.loss!.data[0]!, 12);
  });

  it("lossHead: trained rows of the head have their part of the whole head's gradient", () => {
    const [n, m] = [7, 3];
    const tokens = [4n, 0n, 2n];
    const f = lossHead(config, n, m, { weightGradients: { tokens: tokens.length } });
    const whole = lossHead(config, n, m, { weightGradients: { head: true } });
    const inputs = {
      ...valuesFor(whole, config),
      labels: { dtype: "i64", shape: [m], data: BigInt64Array.of(2n, 1n, 4n) },
    } as const;
    const slots = { dtype: "i64", shape: [m], data: BigInt64Array.of(2n, 3n, 0n) } as const;
    const rows = { dtype: "i64", shape: [tokens.length], data: BigInt64Array.from(tokens) } as const;
    const found = interpret(f, { ...inputs, token_rows: rows, label_slots: slots }).d_token_rows!;
    const all = interpret(whole, inputs)["d_lm_head.weight"]!;
    const d = config.hiddenSize;
    const wanted = tokens.flatMap((id) => [...all.data.subarray(Number(id) * d, (Number(id) + 1) * d)]);
    expect(wanted.some((value) => Math.abs(value) > 1e-3)).toBe(true);
    for (const [i, value] of wanted.entries()) expect(found.data[i]).toBeCloseTo(value, 12);
  });

  it("lossHead in bf16: the same function, and nothing of a chunk's logits is fp32", () => {
    const [plain, half] = [lossHead(config, 7, 3), lossHead(config, 7, 3, { dtype: "bf16" })];
    const inputs = valuesFor(plain, config);
    expect(interpret(half, inputs)).toEqual(interpret(plain, inputs));
    const wide = topological(Object.values(half.outputs)).filter(({ shape }) => shape.includes(config.vocabSize));
    expect(wide.map(({ dtype }) => dtype)).toEqual(wide.map(() => "bf16"));
    expect(wide.map(({ op }) => op)).toEqual(expect.arrayContaining(["matmul", "softmax"]));
  });

  it("lossHead: the loss is the weighted sum of -log softmax at the labels, and weight 0 counts nothing", () => {
    const f = lossHead(config, 7, 3);
    const inputs = valuesFor(f, config);
    const { loss, d_rows } = interpret(f, inputs);
    const d = config.hiddenSize;
    const rows = [...(inputs.rows!.data as BigInt64Array)].map(Number);
    const value = (name: string, i: number) => Number(inputs[name]!.data[i]);
    let expected = 0;
    rows.forEach((row, i) => {
      const x = Array.from({ length: d }, (_, j) => value("x", row * d + j));
      const rms = Math.sqrt(x.reduce((s, v) => s + v * v, 0) / d + config.rmsNormEps);
      const { unitOffsetNorm = false, logitScale = 1, finalSoftcap: cap } = config;
      const norm = (j: number) => value("norm.weight", j) + Number(unitOffsetNorm);
      const logits = Array.from({ length: config.vocabSize }, (_, t) => {
        const product = x.reduce((s, v, j) => s + (v / rms) * norm(j) * value("lm_head.weight", t * d + j), 0);
        return cap === undefined ? product * logitScale : cap * Math.tanh((product * logitScale) / cap);
      });
      const logSum = Math.log(logits.reduce((s, v) => s + Math.exp(v), 0));
      expected += value("weights", i) * (logSum - logits[value("labels", i)]!);
    });
    expect(loss!.data[0]).toBeCloseTo(expected, 10);
    expect([...d_rows!.data.subarray(d, 2 * d)].every((g) => g === 0)).toBe(true);
  });

  it.each(distillCases(config).filter(([, { forwardOnly }]) => !forwardOnly))(
    "%s: the gradient written by hand equals central differences of the divergence",
    (_, options) => {
      const [n, m] = [7, 3];
      const f = distillHead(config, n, m, options);
      const inputs = valuesFor(f, config);
      const found = interpret(f, inputs);
      const d = config.hiddenSize;
      const dx = new Float64Array(n * d);
      (inputs.rows!.data as BigInt64Array).forEach((row, i) => {
        for (let j = 0; j < d; j++) dx[Number(row) * d + j]! += found.d_rows!.data[i * d + j]!;
      });
      const loss = { ...f, outputs: { loss: f.outputs.loss! } };
      const scale = seedOf(loss);
      const exact = { ...found, d_x: { shape: [n, d], data: dx } };
      for (const name of options.weightGradients ? ["x", "norm.weight", "lm_head.weight"] : ["x"]) {
        const { numeric, analytic: own } = directional(loss, inputs, [name], exact);
        near({ numeric: numeric / scale, analytic: own });
      }
      expect(found.loss!.data[0]).toBeGreaterThan(0.001);
      expect([...found.d_rows!.data.subarray(d, 2 * d)].every((g) => g === 0)).toBe(true);
    },
  );

  it.each(["forward", "reverse", "jsd"] as const)("distillHead, %s: nothing at the teacher itself", (divergence) => {
    const f = distillHead(config, 7, 3, { divergence });
    const inputs = valuesFor(f, config);
    const d = config.hiddenSize;
    const rows = Array.from(inputs.rows!.data as BigInt64Array, Number);
    const x = inputs.x!.data as Float32Array;
    const teacher = f32(
      [3, d],
      Float32Array.from({ length: 3 * d }, (_, i) => x[rows[Math.floor(i / d)]! * d + (i % d)]!),
    );
    const { loss, d_rows } = interpret(f, { ...inputs, teacher });
    expect(Math.abs(loss!.data[0]!)).toBe(0);
    expect([...d_rows!.data].every((g) => Math.abs(g) === 0)).toBe(true);
  });

  it("selfAttention: the future changes nothing, and position 0 sees itself alone", () => {
    const t = 5;
    const f = selfAttention(config, t);
    const inputs = valuesFor(f, config);
    const before = interpret(f, inputs).o!.data;
    const { headDim: hd, numKeyValueHeads: kv, numAttentionHeads: heads } = config;
    const changed = (inputs.k!.data as Float32Array).slice();
    changed.fill(9, (t - 1) * kv * hd);
    const after = interpret(f, { ...inputs, k: f32([t, kv * hd], changed) }).o!.data;
    const width = heads * hd;
    expect(after.subarray(0, (t - 1) * width)).toEqual(before.subarray(0, (t - 1) * width));
    expect(after.subarray((t - 1) * width)).not.toEqual(before.subarray((t - 1) * width));
    for (let h = 0; h < heads; h++) {
      const group = Math.floor(h / (heads / kv));
      for (let j = 0; j < hd; j++) expect(before[h * hd + j]).toBeCloseTo(inputs.v!.data[group * hd + j] as number, 12);
    }
  });

  it("attentionInput, selfAttention: scores depend on distance alone (rotary)", () => {
    const [t, at] = [4, 9];
    const [project, attend] = [attentionInput(config, t, {}), selfAttention(config, t)];
    const attended = (start: number) => {
      const qkv = interpret(project, { ...valuesFor(project, config), ...ropeTables(config, t, { start }) });
      return { q: qkv.q!.data, o: interpret(attend, { ...valuesFor(attend, config), ...qkv }).o!.data };
    };
    const [first, later] = [attended(0), attended(at)];
    first.o.forEach((o, i) => {
      expect(later.o[i]).toBeCloseTo(o, 5); // the tables are fp32
    });
    expect(later.q).not.toEqual(first.q);
  });
});

it("an adapter adds scale (x A^T) B^T to the frozen product; dropout acts on x only there", () => {
  const config = CONFIGS["all heads, biases"]!;
  const f = define("f", (declare) => {
    const x = declare("x", [2, config.hiddenSize]);
    return {
      y: linear(declare, config, "q_proj", x, ADAPTED),
      base: linear(declare, config, "q_proj", x, {}),
    };
  });
  const inputs = valuesFor(f, config);
  const { y, base } = interpret(f, inputs);
  const at = (name: string, i: number) => inputs[name]!.data[i] as number;
  const [d, r] = [config.hiddenSize, ADAPTED.lora!.q_proj!.r];
  const out = y!.shape[1]!;
  for (let i = 0; i < 2; i++) {
    for (let o = 0; o < out; o++) {
      let sum = 0;
      for (let k = 0; k < r; k++) {
        let low = 0;
        for (let j = 0; j < d; j++)
          low += at("x", i * d + j) * at("q_proj.dropout_mask", i * d + j) * at("q_proj.lora_A.weight", k * d + j);
        sum += low * at("q_proj.lora_B.weight", o * r + k);
      }
      expect(y!.data[i * out + o]! - base!.data[i * out + o]!).toBeCloseTo((5 / 3) * sum, 10);
    }
  }
});

it("the scale is alpha / r, with rsLoRA alpha / sqrt(r)", () => {
  expect(loraScale({ alpha: 16, r: 4, useRslora: false })).toBe(4);
  expect(loraScale({ alpha: 16, r: 4, useRslora: true })).toBe(8);
});

it("B = 0 leaves the model as it is", () => {
  const config = CONFIGS["grouped queries"]!;
  const [bare, adapted] = [attentionInput(config, 3, {}), attentionInput(config, 3, ADAPTED)];
  const inputs = valuesFor(adapted, config);
  for (const [name, t] of Object.entries(inputs)) if (name.includes("lora_B")) (t.data as Float32Array).fill(0);
  expect(interpret(adapted, inputs)).toEqual(interpret(bare, inputs));
});

/** `directional` weighs outputs by a seed; the loss has one output, so dividing by its seed gives the loss itself. */
function seedOf(f: ReturnType<typeof lossHead>): number {
  return normal("loss", f.outputs.loss!.shape).data[0]!;
}
