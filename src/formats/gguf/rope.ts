import type { GgufFields, GgufKeys, ModelConfig, RopeScaling } from "../../models/index.js";
import { shortest } from "../../models/index.js";
import { UserError } from "../../tensor/index.js";
import type { OpenGguf } from "./parts.js";

/** Tensors that stretch rotary frequencies: no weights of the model, what they say is in the configuration. */
const FREQS = "rope_freqs.weight";
const LONG = "rope_factors_long.weight";
const SHORT = "rope_factors_short.weight";

/** What divides each rotary frequency, by the tensor's name. */
export type RopeTensors = ReadonlyMap<string, Float32Array>;

export const isRopeTensor = (name: string): boolean => [FREQS, LONG, SHORT].includes(name);

/** Reads them; none for most models. */
export async function readRopeTensors({ tensors }: OpenGguf): Promise<RopeTensors> {
  const found = new Map<string, Float32Array>();
  for (const tensor of tensors.values()) {
    if (!isRopeTensor(tensor.name)) continue;
    if (tensor.type !== "f32" || tensor.bytes > 2 ** 16)
      throw new UserError(`${tensor.file.path}: ${tensor.name} must be a short list of f32, got ${tensor.type}`);
    const bytes = new Uint8Array(tensor.bytes);
    await tensor.file.read(tensor.offset, bytes);
    found.set(tensor.name, new Float32Array(bytes.buffer));
  }
  return found;
}

/** What the rotary frequencies of a GGUF are made of. */
interface RopeShape {
  readonly rotaryDim: number;
  readonly theta: number;
  readonly context: number;
  /** The stretchings that llama.cpp applies to this architecture. */
  readonly scalings: readonly RopeScaling["type"][];
}

/**
 * How frequencies are stretched, as llama.cpp reads it: without a type the scaling is linear, the first GGUFs call its factor
 * `rope.scale_linear`, 0 stands for none, type "none" scales nothing, and tensors count whatever the type. Throws UserError for
 * what is not supported.
 */
export function ropeScalingOf(keys: GgufKeys, shape: RopeShape, tensors: RopeTensors): RopeScaling | undefined {
  const stretched = (key: string) => `${keys.where}: ${keys.name(key)}`;
  const type = keys.get("rope.scaling.type") ?? "linear";
  const known = ["none", "linear", ...(shape.scalings.includes("longrope") ? ["longrope"] : [])];
  if (typeof type !== "string" || !known.includes(type))
    throw new UserError(
      `${keys.where}: rope scaling ${JSON.stringify(type)} is not supported (supported: ${shape.scalings.join(", ")})`,
    );
  const old = keys.get("rope.scaling.factor") === undefined && keys.get("rope.scale_linear") !== undefined;
  const key = old ? "rope.scale_linear" : "rope.scaling.factor";
  const factor = keys.number(key, 1) || 1;
  if (factor < 0) throw new UserError(`${stretched(key)} must be above 0, got ${factor}`);
  const byTensor = longropeOf(keys, shape, tensors) ?? llama3Of(keys, shape, tensors);
  if (byTensor && !shape.scalings.includes(byTensor.type))
    throw new UserError(
      `${keys.where}: factors of rotary frequencies (${[...tensors.keys()].join(", ")}) are not supported in this architecture`,
    );
  if (type === "longrope" && byTensor?.type !== "longrope")
    throw new UserError(`${keys.where}: rope scaling "longrope" needs the tensors ${LONG} and ${SHORT}`);
  if (type === "none" || factor === 1) return byTensor;
  if (byTensor)
    throw new UserError(
      `${stretched(key)} = ${factor} beside the factors in ${[...tensors.keys()].join(", ")} is not supported`,
    );
  return { type: "linear", factor };
}

function longropeOf(keys: GgufKeys, { rotaryDim, context }: RopeShape, tensors: RopeTensors): RopeScaling | undefined {
  const [long, short] = [tensors.get(LONG), tensors.get(SHORT)];
  if (!long && !short) return undefined;
  const original = keys.number("rope.scaling.original_context_length", context);
  const attention = keys.number("rope.scaling.attn_factor", 1);
  if (long?.length !== rotaryDim / 2 || short?.length !== rotaryDim / 2 || !(original > 0) || !(attention > 0))
    throw new UserError(`${keys.where}: ${LONG} and ${SHORT} must both be lists of ${rotaryDim / 2} factors`);
  const usual = usualAttentionFactor(context / original, original);
  return {
    type: "longrope",
    shortFactors: Array.from(short, shortest),
    longFactors: Array.from(long, shortest),
    originalMaxPositionEmbeddings: original,
    attentionFactor: Math.fround(usual) === Math.fround(attention) ? usual : attention,
  };
}

/** LongRoPE's factor on cos and sin for a context stretched by `factor` (Ding et al. 2024). */
const usualAttentionFactor = (factor: number, original: number): number =>
  factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original));

/**
 * Llama 3.1's scaling, recovered from the factors it gives: the last is `factor`; the frequencies between are known for
 * the published low and high factors (1 and 4), so the trained context is the one stated, or the power of two, that
 * reproduces them all.
 */
function llama3Of(keys: GgufKeys, { rotaryDim, theta }: RopeShape, tensors: RopeTensors): RopeScaling | undefined {
  const factors = tensors.get(FREQS);
  const stated = keys.number("rope.scaling.original_context_length", 0);
  if (!factors || factors.every((f) => f === 1)) return undefined;
  const factor = shortest(factors[factors.length - 1]!);
  for (const original of [stated, ...Array.from({ length: 11 }, (_, i) => 1024 * 2 ** i)]) {
    const scaling = {
      type: "llama3",
      factor,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalMaxPositionEmbeddings: original,
    } as const;
    const expected = llama3Factors(scaling, rotaryDim, theta);
    if (expected.length === factors.length && expected.every((f, i) => Math.abs(f - factors[i]!) <= 1e-4 * f))
      return scaling;
  }
  throw new UserError(`${keys.where}: the factors in ${FREQS} are not Llama 3's scaling; this kind is not supported`);
}

/** What divides each rotary frequency (transformers, `_compute_llama3_parameters`, inverted). */
export function llama3Factors(scaling: RopeScaling & { type: "llama3" }, headDim: number, theta: number): number[] {
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPositionEmbeddings: original } = scaling;
  return Array.from({ length: headDim / 2 }, (_, i) => {
    const wavelength = 2 * Math.PI * theta ** ((2 * i) / headDim);
    if (wavelength < original / highFreqFactor) return 1;
    if (wavelength > original / lowFreqFactor) return factor;
    const smooth = (original / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}

/** The keys and the tensors that say how frequencies are stretched. */
export function writeRope({ ropeScaling: scaling, headDim, ropeTheta }: ModelConfig): {
  fields: GgufFields;
  tensors: RopeTensors;
} {
  switch (scaling?.type) {
    case undefined:
      return { fields: {}, tensors: new Map() };
    case "linear":
      return {
        fields: { "rope.scaling.type": ["string", "linear"], "rope.scaling.factor": ["f32", scaling.factor] },
        tensors: new Map(),
      };
    case "llama3":
      return {
        fields: { "rope.scaling.original_context_length": ["u32", scaling.originalMaxPositionEmbeddings] },
        tensors: new Map([[FREQS, Float32Array.from(llama3Factors(scaling, headDim, ropeTheta))]]),
      };
    case "longrope":
      return {
        fields: {
          "rope.scaling.type": ["string", "longrope"],
          "rope.scaling.original_context_length": ["u32", scaling.originalMaxPositionEmbeddings],
          "rope.scaling.attn_factor": ["f32", scaling.attentionFactor],
        },
        tensors: new Map([
          [LONG, Float32Array.from(scaling.longFactors)],
          [SHORT, Float32Array.from(scaling.shortFactors)],
        ]),
      };
  }
}
