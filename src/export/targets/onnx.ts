import { join } from "../../formats/files.js";
import type { GgufWeightType } from "../../tensor/codecs/quants-encode.js";
import { option } from "../../tensor/option.js";
import { readTokenizer } from "../../weights/model-folder.js";
import { exportOnnx, removeOnnxType } from "../onnx.js";
import { ONNX_TYPES, type OnnxType, onnxTypeOf } from "../onnx-graph.js";
import { onnxLogits } from "../onnx-trial.js";
import type { Subject } from "../subject.js";
import { loads, refuses } from "../systems.js";
import type { Trial } from "../trials.js";
import type { ExportTarget } from "./target.js";

export const onnx: ExportTarget = {
  summary: "merged model for transformers.js, in Node and browsers, tokenizer and template",
  whole: true,
  types: ONNX_TYPES,
  usually: "a file of each",
  async write(files, { adapter, model }, { path, type }) {
    await exportOnnx(files, model, adapter, path, { types: typesOf(type) });
    return path;
  },
  async reopen(files, path) {
    return { path, tokenizer: await readTokenizer(files, path, await files.list(path)) };
  },
  trials: (subject, { path }, type) =>
    typesOf(type).map((each, i) => ({ ...trial(subject, path, each), ...(i > 0 ? { spare: true } : {}) })),
  systems: ({ path }) => [
    loads(
      "transformers.js",
      `pipeline("text-generation", "${path}", { dtype: "fp32" | "fp16" | "q4" }), as far as they are there`,
    ),
    loads("ONNX Runtime", "Optimum's names: input_ids, attention_mask, position_ids, past_key_values.N.key ..."),
    refuses(
      "PEFT, transformers, vLLM, MLX",
      `they read safetensors: ${option("to", "peft")}, ${option("to", "hf")} or ${option("to", "mlx")}`,
    ),
    refuses("llama.cpp, Ollama, LM Studio", `they read GGUF: ${option("to", "gguf")}`),
  ],
  leaveOut: (files, path, { type }) => removeOnnxType(files, path, type as OnnxType),
};

const typesOf = (type: GgufWeightType | undefined): readonly OnnxType[] => (type ? [type as OnnxType] : ONNX_TYPES);

/** The file of one type, run by ONNX Runtime on the weights where they lie. */
function trial({ model, adapter }: Subject, path: string, type: OnnxType): Trial {
  const storedAs = (name: string) => onnxTypeOf(name, model.tensors.tensors.get(name)!.shape, type);
  return {
    type,
    label: type,
    ...(type === "f16" ? { computes: type } : {}),
    expected: { of: model, merged: adapter, storedAs },
    found: (ids, platform) => onnxLogits(join(path, "onnx"), model, type, ids, platform),
  };
}
