import {
  type BlockKind,
  blockNorms,
  blockPath,
  familyOf,
  LINEARS,
  type LinearName,
  linearNames,
  type ModelConfig,
  parseBlockPath,
  pathInBlock,
} from "../../models/index.js";
import { UserError } from "../../tensor/index.js";
import { option } from "../../tensor/option.js";

/** llama.cpp's names outside the blocks -> Hugging Face's. */
const OUTER: Readonly<Record<string, string>> = {
  "token_embd.weight": "model.embed_tokens.weight",
  "output_norm.weight": "model.norm.weight",
  "output.weight": "lm_head.weight",
};

/** The norms of a block -> llama.cpp's names, after `blk.N.`. */
const NORMS: Readonly<Record<BlockKind, Readonly<Record<string, string>>>> = {
  pre_norm: { input_layernorm: "attn_norm", post_attention_layernorm: "ffn_norm" },
  sandwich: {
    input_layernorm: "attn_norm",
    post_attention_layernorm: "post_attention_norm",
    pre_feedforward_layernorm: "ffn_norm",
    post_feedforward_layernorm: "post_ffw_norm",
  },
  post_norm: { post_attention_layernorm: "post_attention_norm", post_feedforward_layernorm: "post_ffw_norm" },
};

/** The norms inside attention, and the linear layers; gate and up in one have the name of up. */
const MODULES: Readonly<Record<LinearName | "q_norm" | "k_norm", string>> = {
  q_norm: "attn_q_norm",
  k_norm: "attn_k_norm",
  q_proj: "attn_q",
  k_proj: "attn_k",
  v_proj: "attn_v",
  qkv_proj: "attn_qkv",
  o_proj: "attn_output",
  gate_proj: "ffn_gate",
  up_proj: "ffn_up",
  gate_up_proj: "ffn_up",
  down_proj: "ffn_down",
};

/** The modules of this model's blocks: path inside a block and llama.cpp's name. */
function modules(config: ModelConfig): readonly (readonly [path: string, name: string])[] {
  const names: Readonly<Record<string, string>> = { ...NORMS[config.block ?? "pre_norm"], ...MODULES };
  return [...blockNorms(config).keys(), ...linearNames(config)].map((module) => [pathInBlock(module), names[module]!]);
}

/**
 * llama.cpp's name of a weight, or of a linear layer's path with a suffix. Throws UserError for biases that llama.cpp does not
 * read in a model of this architecture.
 */
export function ggufName(name: string, config: ModelConfig): string {
  const outer = Object.entries(OUTER).find(([, hf]) => hf === name);
  if (outer) return outer[0];
  const found = parseBlockPath(name);
  const [, path, suffix] = /^(.+)\.(weight|bias)$/.exec(found?.inner ?? "") ?? [];
  const inner = modules(config).find((module) => module[0] === path)?.[1];
  if (!inner) throw new RangeError(`${name} has no name in a GGUF`);
  const { architecture, biases } = familyOf(config).gguf;
  if (suffix === "bias" && !biases.some((linear) => LINEARS[linear] === path))
    throw new UserError(
      `${name}: llama.cpp reads no such biases in a model of the architecture "${architecture}"; exporting with ${option("to", "hf")} keeps them`,
    );
  return `blk.${found!.layer}.${inner}.${suffix}`;
}

/** Hugging Face's name of a tensor, which may end in more than `.weight`; the same name for one that is none of this model's. */
export function hfName(name: string, config: ModelConfig): string {
  const [, layer, inner, suffix] = /^blk\.(\d+)\.(\w+)\.(weight|bias)$/.exec(name) ?? [];
  const path = modules(config).find((module) => module[1] === inner)?.[0];
  if (path) return blockPath(Number(layer), `${path}.${suffix}`);
  return Object.hasOwn(OUTER, name) ? OUTER[name]! : name;
}

/**
 * Where row i of the file belongs, for what llama.cpp's converter permutes (`LlamaModel.permute`): each head's rows of q and k are
 * interleaved pairs (2i, 2i+1), where Hugging Face rotates row i with row i + headDim/2. Undefined where rows are in order.
 */
export function rowOrder(name: string, rows: number, config: ModelConfig): ((row: number) => number) | undefined {
  if (!familyOf(config).gguf.permuted) return undefined;
  const module = name.replace(/\.(weight|bias)$/, "");
  if (!module.endsWith(LINEARS.q_proj) && !module.endsWith(LINEARS.k_proj)) return undefined;
  const { headDim } = config;
  if (rows % headDim !== 0) return undefined; // a wrong shape, reported where shapes are checked
  return (row) => {
    const within = row % headDim;
    return row - within + (within & 1) * (headDim / 2) + (within >> 1);
  };
}

/** What the file's values of a tensor are above Hugging Face's: a norm that multiplies by 1 + weight is stored as that sum. */
export const normOffset = (name: string, shape: readonly number[], { unitOffsetNorm }: ModelConfig): number =>
  unitOffsetNorm && shape.length === 1 && name.endsWith(".weight") ? 1 : 0;
