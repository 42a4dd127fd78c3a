import type { ModelConfig } from "../../src/models/index.js";
import type { CaseName } from "./vectors.js";

/** What of a case llama.cpp cannot run, by config.json's key, and the model beside it that it can. */
export const REFUSED: Partial<Record<CaseName, readonly [key: RegExp, change: (config: ModelConfig) => ModelConfig]>> =
  {
    mistral: [/"llama" cannot hold this model: .* sliding_window = 5 \(it would be null\).*`to: hf`/, withoutLayers],
    qwen2: [/"qwen2" .* sliding_window = 6 \(it would be null\)/, withoutLayers],
    gemma2: [/"gemma2" .* query_pre_attn_scalar = 10 \(it would be 12\)/, usualScale],
    gemma3_text: [/"gemma3" .* query_pre_attn_scalar = 10 \(it would be 12\)/, usualScale],
    smollm3: [
      /"smollm3" .* no_rope_layers/,
      (config) => ({ ...config, layers: [{ rope: "global" }, { rope: "global" }] }),
    ],
  };

export function withoutLayers({ layers: _, ...config }: ModelConfig): ModelConfig {
  return config;
}

function usualScale(config: ModelConfig): ModelConfig {
  return { ...config, attentionScale: config.headDim ** -0.5 };
}

/** The same model, or the one beside it that llama.cpp can run. */
export const runnable = (name: CaseName, config: ModelConfig): ModelConfig => REFUSED[name]?.[1](config) ?? config;
