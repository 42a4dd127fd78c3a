import { kindOf } from "../adapters/index.js";
import { type Adapter, adaptedModules } from "../formats/peft/adapter.js";
import { loraScale } from "../models/lora-config.js";
import type { OpenModel } from "../weights/model-folder.js";

export const EXPORT_TARGETS = ["peft", "hf", "gguf", "gguf-lora", "onnx"] as const;
export type ExportTarget = (typeof EXPORT_TARGETS)[number];

/** Whether a system loads what was exported, and how or why not. */
export interface SystemVerdict {
  readonly system: string;
  readonly loads: boolean;
  readonly how: string;
}

/** The ranks that vLLM's `--max-lora-rank` takes (vllm/config/lora.py, `MaxLoRARanks`). */
export const VLLM_RANKS = [8, 16, 32, 64, 128, 256, 320, 512] as const;

const yes = (system: string, how: string): SystemVerdict => ({ system, loads: true, how });
const no = (system: string, how: string): SystemVerdict => ({ system, loads: false, how });

/** Which systems load an export, by rule. `path` is what they are given, the first part of a GGUF that is in parts. */
export function systemsFor(
  to: ExportTarget,
  path: string,
  base: OpenModel,
  adapter: Adapter,
  inParts = false,
): SystemVerdict[] {
  const baseName = adapter.base.name ?? base.path;
  switch (to) {
    case "peft":
      return [
        yes("PEFT, transformers", `PeftModel.from_pretrained(model, "${path}")`),
        vllmLora(adapter, path, base),
        no(
          "llama.cpp, LM Studio",
          `they read GGUF: ${kindOf(adapter.config.kind).key ? "" : "--to gguf-lora (llama.cpp) or "}--to gguf`,
        ),
        ollamaLora(adapter, path),
        no("transformers.js", "it loads ONNX models: --to onnx"),
      ];
    case "hf":
      return [
        yes("transformers", `AutoModelForCausalLM.from_pretrained("${path}")`),
        yes("vLLM", `vllm serve ${path}`),
        yes("Ollama", `FROM ${path}, in a Modelfile; its own conversion, so --to gguf is surer`),
        no("llama.cpp, LM Studio", "they read GGUF: --to gguf"),
        no("transformers.js", "it loads ONNX models: --to onnx"),
      ];
    case "gguf":
      return [
        yes("llama.cpp", `llama-cli -m ${path} --jinja`),
        inParts
          ? no("Ollama", "it reads no file in parts: leave out --split-max-size")
          : yes("Ollama", "ollama create NAME -f the Modelfile beside it"),
        yes("LM Studio", inParts ? "put the folder into its models folder" : `lms import ${path}`),
        inParts
          ? no("transformers", "it reads no file in parts: leave out --split-max-size")
          : yes("transformers", "from_pretrained(folder, gguf_file=name): dequantised to fp32"),
        no("vLLM", "its GGUF support is experimental: --to hf is sure"),
        no("transformers.js", "it loads ONNX models: --to onnx"),
      ];
    case "gguf-lora":
      return [
        yes("llama.cpp", `llama-cli -m BASE.gguf --lora ${path}`),
        yes("Ollama", "FROM the base's GGUF and ADAPTER this file, in a Modelfile"),
        no("LM Studio", "it loads no adapters: --to gguf"),
        no("PEFT, vLLM", `they read PEFT folders: --to peft (base ${baseName})`),
        no("transformers.js", "it loads ONNX models: --to onnx"),
      ];
    case "onnx":
      return onnxSystems(path);
  }
}

/** Whether modules differ in what a reader takes from the configuration once for all of them. */
function differ(adapter: Adapter, value: (lora: { readonly r: number; readonly scale: number }) => number): boolean {
  const { config } = adapter;
  const usual = config.useRslora ? [] : [{ r: config.r, scale: loraScale(config) }];
  const values = [...adaptedModules(adapter), ...usual].map(value);
  return Math.max(...values) > Math.min(...values) * (1 + 1e-9);
}

function ollamaLora(adapter: Adapter, path: string): SystemVerdict {
  const { title, key } = kindOf(adapter.config.kind);
  if (key !== undefined) return no("Ollama", `it reads no ${title} adapters: --to gguf`);
  if (differ(adapter, ({ scale, r }) => scale * r))
    return no(
      "Ollama",
      "it reads one alpha for all modules, and this adapter has several: --to gguf-lora or --to gguf",
    );
  return yes("Ollama", `FROM the base and ADAPTER ${path}, in a Modelfile; its own conversion, so --to gguf is surer`);
}

/** Said for a folder of ONNX models. */
const onnxSystems = (path: string): SystemVerdict[] => [
  yes(
    "transformers.js",
    `pipeline("text-generation", "${path}", { dtype: "fp32" | "fp16" | "q4" }), as far as they are there`,
  ),
  yes("ONNX Runtime", "Optimum's names: input_ids, attention_mask, position_ids, past_key_values.N.key ..."),
  no("PEFT, transformers, vLLM", "they read safetensors: --to peft or --to hf"),
  no("llama.cpp, Ollama, LM Studio", "they read GGUF: --to gguf"),
];

function vllmLora(adapter: Adapter, path: string, base: OpenModel): SystemVerdict {
  const r = Math.max(adapter.config.r, ...adaptedModules(adapter).map((module) => module.r));
  if (base.kind === "gguf")
    return no("vLLM", "the base is a GGUF, on which it serves no adapters: --to hf, or serve the original model");
  const { title, key } = kindOf(adapter.config.kind);
  if (key !== undefined) return no("vLLM", `it serves no ${title} adapters: --to hf`);
  const rank = VLLM_RANKS.find((limit) => limit >= r);
  if (rank === undefined)
    return no(
      "vLLM",
      `its largest rank is ${VLLM_RANKS.at(-1)}, this adapter has ${r}: --to hf, or lowrank combine --method svd --rank 512`,
    );
  if (differ(adapter, ({ scale }) => scale))
    return no("vLLM", "it scales all modules alike, by alpha / r, and this adapter does not: --to hf");
  const flag = rank === 16 || rank === 8 ? "" : ` --max-lora-rank ${rank}`;
  return yes("vLLM", `vllm serve BASE --enable-lora${flag} --lora-modules name=${path}`);
}
