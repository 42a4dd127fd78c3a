/** Execution providers of ONNX Runtime that a device can run on. */
export type Provider = keyof typeof PROVIDERS;

/** What runs lowered models: a provider of ONNX Runtime, its CPU provider through its C library ("native"), or OpenVINO. */
export type Backend = Provider | "native" | "openvino";

/** What a provider computes right beyond plain ONNX; where a flag is false the lowering uses plain operators. */
export interface Capabilities {
  /** com.microsoft FusedMatMul: transposes and alpha inside a batched product. */
  readonly fusedMatMul: boolean;
  /** com.microsoft RotaryEmbedding. */
  readonly rotaryEmbedding: boolean;
  /** SimplifiedLayerNormalization (RMSNorm in one pass). */
  readonly simplifiedLayerNorm: boolean;
  /** com.microsoft QuickGelu with alpha 1: x sigmoid(x) in one pass. */
  readonly quickGelu: boolean;
  /** com.microsoft MatMulNBits: weights of 4 or 8 bits are multiplied as they are. */
  readonly matMulNBits: boolean;
  /** com.microsoft GroupQueryAttention, which adds to KV caches where they lie: for engines over the caller's own memory. */
  readonly cachedAttention: boolean;
  /** It rounds each term of a sum of products, and widens it again: better one product over all that the terms multiply. */
  readonly roundsProducts: boolean;
}

const PLAIN: Capabilities = {
  fusedMatMul: false,
  rotaryEmbedding: false,
  simplifiedLayerNorm: false,
  quickGelu: false,
  matMulNBits: false,
  cachedAttention: false,
  roundsProducts: false,
};

/**
 * One row a provider, from what `test/conformance` found right on it. WebGPU's FusedMatMul gave wrong products with transA
 * on some devices (ONNX Runtime 1.30), so it multiplies plainly there; providers without a test of their own get plain ONNX.
 */
export const PROVIDERS = {
  cpu: {
    fusedMatMul: true,
    rotaryEmbedding: true,
    simplifiedLayerNorm: true,
    quickGelu: true,
    matMulNBits: true,
    cachedAttention: false,
    roundsProducts: false,
  },
  webgpu: { ...PLAIN, rotaryEmbedding: true, simplifiedLayerNorm: true, quickGelu: true },
  cuda: PLAIN,
  coreml: PLAIN,
  dml: PLAIN,
} as const satisfies Record<string, Capabilities>;

/** The same for everything that runs lowered models. */
export const BACKENDS: Readonly<Record<Backend, Capabilities>> = {
  ...PROVIDERS,
  native: { ...PROVIDERS.cpu, cachedAttention: true },
  openvino: { ...PLAIN, roundsProducts: true },
};
