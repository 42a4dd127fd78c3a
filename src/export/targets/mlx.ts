import { readMlxAdapter, writeMlxAdapter } from "../../formats/peft/mlx.js";
import type { WeightDtype } from "../../formats/safetensors-writer.js";
import { option } from "../../tensor/option.js";
import { sameTemplates } from "../../tokenizers/files.js";
import type { AdapterSubject } from "../subject.js";
import { loads, refuses } from "../systems.js";
import { adapterTrial } from "../trials.js";
import type { ExportedAdapter, ExportTarget } from "./target.js";

export const mlx: ExportTarget = {
  summary: "adapter folder for mlx-lm's --adapter-path, on Apple silicon",
  types: ["f32", "f16", "bf16"],
  usually: "f32",
  async write(files, { adapter, model }: AdapterSubject, { path, type = "f32" }) {
    const { inWhole = false } = model;
    await writeMlxAdapter(files, path, adapter, model.config, { type: type as WeightDtype, inWhole });
    return path;
  },
  reopen: async (files, path, { model }) => ({ path, adapter: await readMlxAdapter(files, path, model.config) }),
  trials: (subject, reopened, type) => [adapterTrial(subject, reopened, type)],
  systems: ({ path, adapter, base }: ExportedAdapter) => [
    base.kind === "gguf"
      ? refuses(
          "MLX",
          `the base is a GGUF, on which it loads no adapters: ${option("to", "hf")}, or the original model`,
        )
      : loads("MLX", `mlx_lm.generate --model ${adapter.base.name ?? base.path} --adapter-path ${path}`),
    refuses("PEFT, vLLM", `they read PEFT folders: ${option("to", "peft")}`),
    refuses(
      "llama.cpp, Ollama, LM Studio",
      `they read GGUF: ${option("to", "gguf-lora")} (llama.cpp, Ollama) or ${option("to", "gguf")}`,
    ),
    refuses("transformers.js", `it loads ONNX models: ${option("to", "onnx")}`),
  ],
  warnings: ({ model }, base) =>
    sameTemplates(model.tokenizer, base)
      ? []
      : [
          `mlx-lm takes the base's chat template, which is not the one this adapter was trained with: use ${option("to", "hf")} for both in one folder`,
        ],
};
