import { baseName, type Files, join, writeFolder } from "../../formats/files.js";
import { adapterCard } from "../../formats/model-card.js";
import { type Adapter, adaptedModules, readAdapter, writeAdapter } from "../../formats/peft/adapter.js";
import type { WeightDtype } from "../../formats/safetensors-writer.js";
import { type LoraConfig, patternsOf } from "../../models/lora-config.js";
import { GGUF_WEIGHT_TYPES, type GgufWeightType } from "../../tensor/codecs/quants-encode.js";
import type { TokenizerFiles } from "../../tokenizers/files.js";
import { type OpenModel, openModel, readTokenizer } from "../../weights/model-folder.js";
import { exportGguf } from "../gguf.js";
import { exportGgufLora, type LoraGgufType, readGgufLora } from "../gguf-lora.js";
import { mergeModel } from "../merge.js";
import { exportOnnx } from "../onnx.js";
import { ONNX_TYPES, type OnnxType } from "../onnx-graph.js";
import type { Subject } from "../subject.js";
import type { ExportTarget } from "../systems.js";

/** Where a target goes: the path itself, a file or a folder. */
export interface Draft {
  readonly path: string;
  readonly asFile: boolean;
  /** Undefined: the target's own choice. */
  readonly type: GgufWeightType | undefined;
  /** Bytes after which a GGUF's next part is begun; undefined: one file. */
  readonly splitMaxSize?: number | undefined;
}

/** What was written, read back for the gates: whatever of these the target holds. */
export interface Written {
  readonly tokenizer?: TokenizerFiles;
  readonly model?: OpenModel;
  readonly adapter?: Adapter;
  /** Types, and the folder that holds their files. */
  readonly onnx?: { readonly types: readonly OnnxType[]; readonly folder: string };
}

/** A form in which an adapter leaves: how it is written and what a reader finds. */
export interface Target {
  readonly types: readonly GgufWeightType[];
  /** Can be a single file, by the ending `.gguf`. */
  readonly file?: true;
  /** Writes the draft and returns the path that a reader opens. */
  write(files: Files, subject: Subject, draft: Draft): Promise<string>;
  read(files: Files, path: string, subject: Subject, draft: Draft): Promise<Written>;
}

const FLOATS = ["f32", "f16", "bf16"] as const;

export const TARGETS: Readonly<Record<ExportTarget, Target>> = {
  peft: {
    types: ["f32"],
    async write(files, { adapter, model }, { path }) {
      const card = await adapterCard(files, adapter.base.name ?? model.path);
      const config = plain(adapter);
      await writeAdapter(files, path, { ...adapter, config }, { tokenizer: model.tokenizer, card });
      return path;
    },
    async read(files, path, { model }) {
      return {
        tokenizer: await readTokenizer(files, path, await files.list(path)),
        adapter: await readAdapter(files, path, model.config),
      };
    },
  },
  hf: {
    types: FLOATS,
    async write(files, { adapter, model }, { path, type }) {
      await mergeModel(files, model, adapter, path, type ? { dtype: type as WeightDtype } : {});
      return path;
    },
    read: mergedModel,
  },
  gguf: {
    types: GGUF_WEIGHT_TYPES,
    file: true,
    write: (files, { adapter, model, name }, draft) =>
      inFolder(files, draft, name, (path) =>
        exportGguf(files, model, adapter, path, {
          type: draft.type ?? "f16",
          name,
          ...(draft.splitMaxSize === undefined ? {} : { splitMaxSize: draft.splitMaxSize }),
        }),
      ),
    read: mergedModel,
  },
  "gguf-lora": {
    types: FLOATS,
    file: true,
    write: (files, { adapter, model, name }, draft) =>
      inFolder(files, draft, name, async (path) => {
        const type = (draft.type ?? "f32") as LoraGgufType;
        await exportGgufLora(files, adapter, model.config, path, { type, name });
        return path;
      }),
    read: async (files, path, { model }) => ({ adapter: await readGgufLora(files, path, model.config) }),
  },
  onnx: {
    types: ONNX_TYPES,
    async write(files, { adapter, model }, draft) {
      await exportOnnx(files, model, adapter, draft.path, { types: onnxTypes(draft) });
      return draft.path;
    },
    async read(files, path, _subject, draft) {
      return {
        tokenizer: await readTokenizer(files, path, await files.list(path)),
        onnx: { types: onnxTypes(draft), folder: join(path, "onnx") },
      };
    },
  },
};

const onnxTypes = ({ type }: Draft): readonly OnnxType[] => (type ? [type as OnnxType] : ONNX_TYPES);

async function mergedModel(files: Files, path: string): Promise<Written> {
  const model = await openModel(files, path);
  return { model, tokenizer: model.tokenizer };
}

/** Writes a GGUF as the draft itself, or as a file in the folder that the draft is; `write` returns what is to be opened. */
async function inFolder(
  files: Files,
  { path, asFile }: Draft,
  name: string,
  write: (path: string) => Promise<string>,
): Promise<string> {
  if (asFile) return write(path);
  let written = "";
  await writeFolder(files, path, async (folder) => {
    written = await write(join(folder, `${name}.gguf`));
  });
  return join(path, baseName(written));
}

/** rsLoRA's scale said with alpha alone, which readers that know only alpha / r understand too. */
function plain(adapter: Adapter): LoraConfig {
  const { rankPattern: _, alphaPattern: __, ...rest } = adapter.config;
  if (!adapter.config.useRslora) return adapter.config;
  const modules = adaptedModules(adapter).map((module) => ({ ...module, alpha: module.scale * module.r }));
  return { ...rest, ...patternsOf(modules), useRslora: false };
}
