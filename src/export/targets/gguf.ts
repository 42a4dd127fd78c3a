import { baseName, join } from "../../formats/files.js";
import { isPart } from "../../formats/gguf/parts.js";
import { familyOf } from "../../models/index.js";
import { GGUF_WEIGHT_TYPES } from "../../tensor/codecs/quants-encode.js";
import { option } from "../../tensor/option.js";
import { exportGguf } from "../gguf.js";
import { writeInFolder } from "../gguf-folder.js";
import { modelfile } from "../modelfile.js";
import type { Subject } from "../subject.js";
import { loads, refuses } from "../systems.js";
import { mergedTrial } from "../trials.js";
import { reopenModel } from "../whole-model.js";
import type { ExportTarget } from "./target.js";

export const gguf: ExportTarget = {
  summary: "merged model for llama.cpp, Ollama (a Modelfile beside it) and LM Studio, tokenizer and template inside",
  whole: true,
  types: GGUF_WEIGHT_TYPES,
  usually: "f16",
  fileEnding: ".gguf",
  inParts: true,
  companion: {
    pathFor: (output, asFile) => (asFile ? `${output}.Modelfile` : join(output, "Modelfile")),
    async text({ speaker, stops }, exported) {
      if (isPart(exported)) return undefined;
      return modelfile(baseName(exported), speaker.chat, speaker.tokenizer, stops);
    },
  },
  write: (files, { adapter, model, name }, draft) =>
    writeInFolder(files, draft, name, (path) =>
      exportGguf(files, model, adapter, path, {
        type: draft.type ?? "f16",
        name,
        ...(draft.splitMaxSize === undefined ? {} : { splitMaxSize: draft.splitMaxSize }),
      }),
    ),
  reopen: reopenModel,
  trials: (subject, reopened, type) => [mergedTrial(subject, reopened, type)],
  systems: ({ path }) => [
    loads("llama.cpp", `llama-cli -m ${path} --jinja`),
    ...(isPart(path) ? loadingParts : loadingOneFile(path)),
    refuses("vLLM", `its GGUF support is experimental: ${option("to", "hf")} is sure`),
    refuses(
      "MLX",
      `mlx-lm reads Hugging Face folders: ${option("to", "hf")}, or ${option("to", "mlx")} for the adapter`,
    ),
    refuses("transformers.js", `it loads ONNX models: ${option("to", "onnx")}`),
  ],
  warnings: ({ model }) => [
    ...normaliserWarning(model),
    ...(familyOf(model.config).gguf.differs?.(model.config) ?? []),
  ],
};

const NO_PARTS = `it reads no file in parts: leave out ${option("splitMaxSize")}`;
const loadingParts = [
  refuses("Ollama", NO_PARTS),
  loads("LM Studio", "put the folder into its models folder"),
  refuses("transformers", NO_PARTS),
];
const loadingOneFile = (path: string) => [
  loads("Ollama", "ollama create NAME -f the Modelfile beside it"),
  loads("LM Studio", `lms import ${path}`),
  loads("transformers", "from_pretrained(folder, gguf_file=name): dequantised to fp32"),
];

function normaliserWarning({ tokenizer }: Subject["model"]): string[] {
  const { normalizer } = tokenizer.tokenizerJson as { normalizer?: { type?: string } | null };
  if (normalizer?.type !== "NFC") return [];
  return [
    "this tokenizer normalises text (NFC) and llama.cpp does not: text with combining characters may get other tokens there",
  ];
}
