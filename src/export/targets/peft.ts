import { kindOf } from "../../adapters/index.js";
import { adapterCard } from "../../formats/model-card.js";
import { type Adapter, adaptedModules, readAdapter, wholeKeys, writeAdapter } from "../../formats/peft/adapter.js";
import { type LoraConfig, loraScale, patternsOf } from "../../models/lora-config.js";
import { option } from "../../tensor/option.js";
import { readTokenizer } from "../../weights/model-folder.js";
import { lostBias } from "../merge.js";
import type { AdapterSubject } from "../subject.js";
import { loads, refuses, type SystemVerdict } from "../systems.js";
import { adapterTrial } from "../trials.js";
import type { ExportedAdapter, ExportTarget } from "./target.js";

/** The ranks that vLLM's `--max-lora-rank` takes (vllm/config/lora.py, `MaxLoRARanks`). */
const VLLM_RANKS = [8, 16, 32, 64, 128, 256, 320, 512] as const;

export const peft: ExportTarget = {
  summary: "PEFT folder with the oldest keys only; rsLoRA's scale said by alpha alone; tokenizer and template",
  types: ["f32"],
  usually: "f32",
  async write(files, { adapter, model }: AdapterSubject, { path }) {
    const card = await adapterCard(files, adapter.base.name ?? model.path);
    const config = plain(adapter);
    await writeAdapter(files, path, { ...adapter, config }, { tokenizer: model.tokenizer, card });
    return path;
  },
  async reopen(files, path, { model }) {
    return {
      path,
      tokenizer: await readTokenizer(files, path, await files.list(path)),
      adapter: await readAdapter(files, path, model.config),
    };
  },
  trials: (subject, reopened, type) => [adapterTrial(subject, reopened, type)],
  systems: (exported: ExportedAdapter) => [
    loads("PEFT, transformers", `PeftModel.from_pretrained(model, "${exported.path}")`),
    vllm(exported),
    refuses(
      "llama.cpp, LM Studio",
      `they read GGUF: ${isPlain(exported) ? `${option("to", "gguf-lora")} (llama.cpp) or ` : ""}${merged(exported, "gguf")}`,
    ),
    ollama(exported),
    refuses(
      "MLX",
      `mlx-lm reads adapters of its own form: ${isPlain(exported) ? option("to", "mlx") : merged(exported, "hf")}`,
    ),
    refuses("transformers.js", `it loads ONNX models: ${merged(exported, "onnx")}`),
  ],
};

/** rsLoRA's scale said with alpha alone, which readers that know only alpha / r understand too. */
function plain(adapter: Adapter): LoraConfig {
  const { rankPattern: _, alphaPattern: __, ...rest } = adapter.config;
  if (!adapter.config.useRslora) return adapter.config;
  const modules = adaptedModules(adapter).map((module) => ({ ...module, alpha: module.scale * module.r }));
  return { ...rest, ...patternsOf(modules), useRslora: false };
}

/** Whether modules differ in what a reader takes from the configuration once for all of them. */
function differ(adapter: Adapter, value: (lora: { readonly r: number; readonly scale: number }) => number): boolean {
  const { config } = adapter;
  const usual = config.useRslora ? [] : [{ r: config.r, scale: loraScale(config) }];
  const values = [...adaptedModules(adapter), ...usual].map(value);
  return Math.max(...values) > Math.min(...values) * (1 + 1e-9);
}

/** What an adapter has beside LoRA, which every system that loads adapters knows; undefined: nothing. */
function beside({ adapter: { config } }: ExportedAdapter): string | undefined {
  const { key, title } = kindOf(config.kind);
  return wholeKeys(config) ?? (key && `${title} adapters`);
}

/** The target that has the adapter merged, or why there is none. */
const merged = ({ adapter, base }: ExportedAdapter, to: "hf" | "gguf" | "onnx"): string =>
  lostBias(adapter, base.config) ? "nor can it be merged, as layers of this base have no bias" : option("to", to);

const isPlain = (exported: ExportedAdapter): boolean => beside(exported) === undefined;

function ollama(exported: ExportedAdapter): SystemVerdict {
  const { adapter, path } = exported;
  if (!isPlain(exported)) return refuses("Ollama", `it reads no ${beside(exported)}: ${merged(exported, "gguf")}`);
  if (differ(adapter, ({ scale, r }) => scale * r))
    return refuses(
      "Ollama",
      `it reads one alpha for all modules, and this adapter has several: ${option("to", "gguf-lora")} or ${option("to", "gguf")}`,
    );
  return loads(
    "Ollama",
    `FROM the base and ADAPTER ${path}, in a Modelfile; its own conversion, so ${option("to", "gguf")} is surer`,
  );
}

function vllm(exported: ExportedAdapter): SystemVerdict {
  const { adapter, path, base } = exported;
  const r = Math.max(adapter.config.r, ...adaptedModules(adapter).map((module) => module.r));
  if (base.kind === "gguf")
    return refuses(
      "vLLM",
      `the base is a GGUF, on which it serves no adapters: ${option("to", "hf")}, or serve the original model`,
    );
  if (!isPlain(exported)) return refuses("vLLM", `it serves no ${beside(exported)}: ${merged(exported, "hf")}`);
  const rank = VLLM_RANKS.find((limit) => limit >= r);
  if (rank === undefined)
    return refuses(
      "vLLM",
      `its largest rank is ${VLLM_RANKS.at(-1)}, this adapter has ${r}: ${option("to", "hf")}, or combine it with ${option("method", "svd")} ${option("rank", 512)}`,
    );
  if (differ(adapter, ({ scale }) => scale))
    return refuses(
      "vLLM",
      `it scales all modules alike, by alpha / r, and this adapter does not: ${option("to", "hf")}`,
    );
  const flag = rank === 16 || rank === 8 ? "" : ` --max-lora-rank ${rank}`;
  return loads("vLLM", `vllm serve BASE --enable-lora${flag} --lora-modules name=${path}`);
}
