import { describe, expect, it } from "vitest";
import { analytic, directional } from "../../../test/conformance/finite-difference.js";
import { CONFIGS } from "../../../test/conformance/models.js";
import { readPeftConfig, writePeftConfig } from "../../formats/peft/config.js";
import { define, type Fn, interpret, print } from "../../graph/index.js";
import { adapterSite, type LinearLora, type LoraConfig, linear, linearShape } from "../../models/index.js";
import { f32, type HostTensor, random, sizeOf } from "../../tensor/index.js";
import { foldAdapter, foldBias, hostUpdate } from "../host-update.js";
import { foldedBias, foldedWeight, stackedAdapter, VECTORS, vectorsOf, weightNorms } from "../update.js";
import { A, B, KIND_KEYS, KINDS, type KindName, kindAsked, kindOf } from "./index.js";

const config = CONFIGS["all heads, biases"]!;
const NAME = "o_proj";
const N = 4;

/** Values of a size around 1, none of them zero; what starts at norms is around them. */
function values(name: string, shape: readonly number[], norms?: ArrayLike<number>): HostTensor {
  const rng = random(7, "kinds", name);
  const draw = (i: number) => (norms ? norms[i]! * (1 + 0.3 * rng.normal()) : rng.normal());
  return f32(
    shape,
    Float32Array.from({ length: sizeOf(shape) }, (_, i) => draw(i)),
  );
}

/** A linear layer's weight, adapter and norms in plain numbers. */
function moduleOf(kind: KindName) {
  const lora: LinearLora = { ...(kind === "lora" ? {} : { kind }), r: 3, alpha: 5, scale: 5 / 3 };
  const site = adapterSite(config, NAME, lora);
  const weight = values("weight", linearShape(config, NAME));
  const factors = { [A]: values(A, [site.r, site.in]), [B]: values(B, [site.out, site.r]) };
  const { data } = interpret(weightNorms("", site), { weight, ...factors }).norms!;
  const norms = f32([site.out], Float32Array.from(data));
  const { startsAtNorms } = kindOf(kind);
  const shapes = Object.entries(kindOf(kind).tensors(site));
  const tensors = Object.fromEntries(
    shapes.map(([name, shape]) => [
      name,
      values(name, shape, name === startsAtNorms ? (norms.data as Float32Array) : undefined),
    ]),
  );
  return { lora, site, weight, norms, tensors };
}

type Module = ReturnType<typeof moduleOf>;

const layer = ({ lora }: Pick<Module, "lora">, dropout: number): Fn =>
  define("layer", (declare) => {
    const x = declare("x", [N, linearShape(config, NAME)[1]]);
    return { y: linear(declare, config, NAME, x, { lora: { [NAME]: lora }, dropout }) };
  });

function inputsOf(f: Fn, { weight, norms, tensors }: Module): Record<string, HostTensor> {
  const own: Record<string, HostTensor> = { ...tensors, weight, weight_norm: norms };
  return Object.fromEntries(
    Object.entries(f.inputs).map(([name, { shape }]) => [
      name,
      own[name.replace(`${NAME}.`, "")] ?? values(name, shape),
    ]),
  );
}

const far = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Math.max(...Array.from(a, (value, i) => Math.abs(value - b[i]!)));

describe.each(Object.keys(KINDS) as KindName[])("the kind %s", (kind) => {
  const module = moduleOf(kind);
  const { site, weight, norms, tensors } = module;
  const fold = (sign: 1 | -1, weight: HostTensor) => {
    const { folded } = interpret(foldedWeight(site, sign), { ...tensors, weight_norm: norms, weight });
    return { shape: weight.shape, data: folded!.data };
  };

  const folds = (name: "bias") => vectorsOf(kind).includes(name);
  const foldOfBias = (sign: 1 | -1, layer_bias: HostTensor) => {
    const { folded } = interpret(foldedBias(site, sign), { ...tensors, layer_bias });
    return { shape: layer_bias.shape, data: folded!.data };
  };

  it("has A and B, and tensors of its own names", () => {
    const shapes = KINDS[kind].tensors(site);
    expect(shapes).toMatchObject({ [A]: [3, site.in], [B]: [site.out, 3] });
    const others = Object.entries(KINDS).filter(([name]) => name !== kind);
    for (const [name, other] of others) expect(Object.keys(other.tensors(site)), name).not.toEqual(Object.keys(shapes));
    const { startsAtNorms } = kindOf(kind);
    if (startsAtNorms) expect(shapes).toMatchObject({ [startsAtNorms]: [site.out] });
  });

  it.each([0, 0.5])("has gradients equal to central differences, with B not zero (dropout %d)", (dropout) => {
    const f = layer(module, dropout);
    const inputs = inputsOf(f, module);
    const trained = ["x", ...Object.keys(tensors).map((name) => `${NAME}.${name}`)];
    for (const wrt of [trained, ...trained.map((name) => [name])]) {
      const { numeric, analytic: exact } = directional(f, inputs, wrt, analytic(f, inputs, wrt, "cheap"));
      expect(Math.abs(numeric - exact) / Math.max(1, Math.abs(numeric)), `${wrt}`).toBeLessThan(1e-7);
    }
  });

  it("computes beside the weight what its folded weight computes, and differs from the base", () => {
    const f = layer(module, 0);
    const inputs = inputsOf(f, module);
    const bare = define("bare", (declare) => ({
      y: linear(declare, config, NAME, declare("x", [N, site.in]), {}),
    }));
    const { y } = interpret(f, inputs);
    const bias = inputs[`${NAME}.bias`]!;
    const folded = interpret(bare, {
      ...inputs,
      [`${NAME}.weight`]: fold(1, weight),
      [`${NAME}.bias`]: folds("bias") ? foldOfBias(1, bias) : bias,
    });
    expect(far(y!.data, folded.y!.data)).toBeLessThan(1e-12);
    expect(far(y!.data, interpret(bare, inputs).y!.data)).toBeGreaterThan(0.1);
  });

  it("comes out of the weight again", () => {
    expect(far(fold(-1, fold(1, weight) as never).data, weight.data as Float32Array)).toBeLessThan(1e-12);
    if (!folds("bias")) return;
    const bias = values("bias", [site.out]);
    expect(far(foldOfBias(-1, foldOfBias(1, bias) as never).data, bias.data as Float32Array)).toBeLessThan(1e-12);
  });

  it("folds in plain numbers as in a graph", async () => {
    const merged = (weight.data as Float32Array).slice();
    await foldAdapter(merged, { ...site, tensors });
    expect(far(merged, fold(1, weight).data)).toBeLessThan(2e-6);
    if (!folds("bias")) return;
    const bias = values("bias", [site.out]);
    const shifted = (bias.data as Float32Array).slice();
    await foldBias(shifted, { ...site, tensors });
    expect(far(shifted, foldOfBias(1, bias).data)).toBeLessThan(2e-6);
    expect(far(shifted, bias.data as Float32Array)).toBeGreaterThan(0.1);
  });

  it("is stacked as what it adds: the same update, finite whatever it holds", async () => {
    const update = await hostUpdate({ ...site, tensors }, async () => weight.data as Float32Array);
    const given = { ...tensors, weight_norm: norms };
    const { stacked, ...vectors } = interpret(stackedAdapter(site), given);
    for (let o = 0; o < site.out; o++)
      for (let k = 0; k < site.r; k++)
        expect(stacked!.data[k * site.out + o]).toBeCloseTo(update.alpha * update.b[o * site.r + k]!, 5);
    expect(Object.keys(vectors)).toEqual(vectorsOf(kind));
    for (const name of VECTORS) {
      expect(update[name] !== undefined).toBe(vectors[name] !== undefined);
      if (vectors[name]) expect(far(vectors[name].data, update[name]!)).toBeLessThan(1e-6);
    }
    const broken = Object.fromEntries(
      Object.entries(given).map(([name, { shape, data }]) => [
        name,
        f32(shape, new Float32Array(data.length).fill(Number.NaN)),
      ]),
    );
    for (const { data } of Object.values(interpret(stackedAdapter(site), broken)))
      expect([...data].every(Number.isFinite)).toBe(true);
  });

  it("changes nothing where B is zero and what starts at the norms is at them", () => {
    const { startsAtNorms } = kindOf(kind);
    const zero = f32([site.out, site.r], new Float32Array(site.out * site.r));
    const { data } = interpret(weightNorms("", site), { weight, ...tensors, [B]: zero }).norms!;
    const start = f32([site.out], Float32Array.from(data));
    const fresh = { ...tensors, [B]: zero, ...(startsAtNorms ? { [startsAtNorms]: start } : {}), weight_norm: start };
    const { folded } = interpret(foldedWeight(site, 1), { ...fresh, weight });
    expect(far(folded!.data, weight.data as Float32Array)).toBe(0);
  });

  it("is said in PEFT's configuration, and read again", () => {
    const lora = {
      ...(kind === "lora" ? {} : { kind }),
      ...{ r: 3, alpha: 5, dropout: 0, useRslora: false, init: "kaiming", targetModules: ["o_proj"] },
    } as LoraConfig;
    const written = writePeftConfig(lora, "base", []);
    const { targetModules: _, ...expected } = lora;
    expect(readPeftConfig(written, "config").lora).toEqual(expected);
    expect(KIND_KEYS.filter(([key]) => written[key] === true).map(([, name]) => name)).toEqual(
      kind === "lora" ? [] : [kind],
    );
    expect(kindAsked(written) ?? "lora").toBe(kind);
  });
});

it("plain LoRA is two products beside the weight's, and nothing else", () => {
  expect(print(layer(moduleOf("lora"), 0))).toMatchInlineSnapshot(`
    "layer(x:f32[4,16], o_proj.weight:f32[12,16], o_proj.bias:f32[12], o_proj.lora_A.weight:f32[3,16], o_proj.lora_B.weight:f32[12,3])
      a:f32[4,12] = matmul x o_proj.weight {transB: true}
      b:f32[4,12] = add a o_proj.bias
      c:f32[4,3] = matmul x o_proj.lora_A.weight {transB: true}
      d:f32[4,12] = matmul c o_proj.lora_B.weight {transB: true, alpha: 1.6666666666666667}
      e:f32[4,12] = add b d
      return y=e"
  `);
  expect(print(layer(moduleOf("lora"), 0.5))).toMatchInlineSnapshot(`
    "layer(x:f32[4,16], o_proj.weight:f32[12,16], o_proj.bias:f32[12], o_proj.lora_A.weight:f32[3,16], o_proj.lora_B.weight:f32[12,3], o_proj.dropout_mask:f32[4,16])
      a:f32[4,12] = matmul x o_proj.weight {transB: true}
      b:f32[4,12] = add a o_proj.bias
      c:f32[4,16] = mul x o_proj.dropout_mask
      d:f32[4,3] = matmul c o_proj.lora_A.weight {transB: true}
      e:f32[4,12] = matmul d o_proj.lora_B.weight {transB: true, alpha: 1.6666666666666667}
      f:f32[4,12] = add b e
      return y=f"
  `);
});
