import { option } from "../../tensor/option.js";
import { sameTemplates } from "../../tokenizers/files.js";
import { writeInFolder } from "../gguf-folder.js";
import { exportGgufLora, type LoraGgufType, readGgufLora } from "../gguf-lora.js";
import type { AdapterSubject } from "../subject.js";
import { loads, refuses } from "../systems.js";
import { adapterTrial } from "../trials.js";
import type { ExportedAdapter, ExportTarget } from "./target.js";

export const ggufLora: ExportTarget = {
  summary: "adapter for llama.cpp's --lora",
  types: ["f32", "f16", "bf16"],
  usually: "f32",
  fileEnding: ".gguf",
  write: (files, { adapter, model, name }: AdapterSubject, draft) =>
    writeInFolder(files, draft, name, async (path) => {
      const type = (draft.type ?? "f32") as LoraGgufType;
      await exportGgufLora(files, adapter, model.config, path, { type, name });
      return path;
    }),
  reopen: async (files, path, { model }) => ({ path, adapter: await readGgufLora(files, path, model.config) }),
  trials: (subject, reopened, type) => [adapterTrial(subject, reopened, type)],
  systems: ({ path, adapter, base }: ExportedAdapter) => [
    loads("llama.cpp", `llama-cli -m BASE.gguf --lora ${path}`),
    loads("Ollama", "FROM the base's GGUF and ADAPTER this file, in a Modelfile"),
    refuses("LM Studio", `it loads no adapters: ${option("to", "gguf")}`),
    refuses("PEFT, vLLM", `they read PEFT folders: ${option("to", "peft")} (base ${adapter.base.name ?? base.path})`),
    refuses("MLX", `mlx-lm reads adapters of its own form: ${option("to", "mlx")}`),
    refuses("transformers.js", `it loads ONNX models: ${option("to", "onnx")}`),
  ],
  warnings: ({ model }, base) =>
    sameTemplates(model.tokenizer, base)
      ? []
      : [
          `a LoRA GGUF holds no chat template, and the base's is not the one this adapter was trained with: pass it with llama.cpp's --chat-template-file, or use ${option("to", "gguf")}`,
        ],
};
