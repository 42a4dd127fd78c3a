import type { WeightDtype } from "../../formats/safetensors-writer.js";
import { option } from "../../tensor/option.js";
import { mergeModel } from "../merge.js";
import { loads, refuses } from "../systems.js";
import { mergedTrial } from "../trials.js";
import { reopenModel } from "../whole-model.js";
import type { ExportTarget } from "./target.js";

export const hf: ExportTarget = {
  summary: "merged Hugging Face folder, in shards past 5 GB, tokenizer and template",
  whole: true,
  types: ["f32", "f16", "bf16"],
  usually: "as the base",
  async write(files, { adapter, model }, { path, type }) {
    await mergeModel(files, model, adapter, path, type ? { dtype: type as WeightDtype } : {});
    return path;
  },
  reopen: reopenModel,
  trials: (subject, reopened, type) => [mergedTrial(subject, reopened, type)],
  systems: ({ path }) => [
    loads("transformers", `AutoModelForCausalLM.from_pretrained("${path}")`),
    loads("vLLM", `vllm serve ${path}`),
    loads("Ollama", `FROM ${path}, in a Modelfile; its own conversion, so ${option("to", "gguf")} is surer`),
    loads("MLX", `mlx_lm.generate --model ${path}`),
    refuses("llama.cpp, LM Studio", `they read GGUF: ${option("to", "gguf")}`),
    refuses("transformers.js", `it loads ONNX models: ${option("to", "onnx")}`),
  ],
};
