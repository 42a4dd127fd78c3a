import { readGgufLora } from "../export/gguf-lora.js";
import { refuseTaken } from "../export/subject.js";
import { baseName } from "../formats/files.js";
import { adapterCard } from "../formats/model-card.js";
import { type Adapter, changesNothing, writeAdapter } from "../formats/peft/adapter.js";
import { readMlxAdapter } from "../formats/peft/mlx.js";
import { loraScale } from "../models/lora-config.js";
import type { Platform } from "../platform/platform.js";
import { UserError } from "../tensor/index.js";
import { type OpenModel, openModel } from "../weights/model-folder.js";

export interface ImportOptions {
  /** An mlx-lm adapter folder or a llama.cpp LoRA GGUF. */
  readonly adapter: string;
  /** The model it was trained on: its shape is checked, its rotary layout is needed to read a GGUF. */
  readonly base: string;
  /** The PEFT folder to be written. */
  readonly output: string;
}

export interface ImportReport {
  readonly output: string;
  readonly from: "mlx" | "gguf";
  readonly r: number;
  /** The factor on B A, as it was. */
  readonly scale: number;
  readonly targetModules: readonly string[];
  readonly warnings: readonly string[];
}

/**
 * Writes another system's adapter as a PEFT folder, with the base's tokenizer. Throws UserError when the adapter is of a kind
 * that is not known or does not fit the base, and when `output` holds something already.
 */
export async function importAdapter(options: ImportOptions, { files, resolveModel }: Platform): Promise<ImportReport> {
  await refuseTaken(files, options.output);
  const from = await kindOf(options.adapter, files);
  const base = await openModel(files, resolveModel(options.base));
  try {
    const adapter = await readFrom(from, options, files, base);
    const named: Adapter = { ...adapter, base: { name: options.base, ...(base.inWhole ? { inWhole: true } : {}) } };
    const card = await adapterCard(files, options.base);
    await writeAdapter(files, options.output, named, { tokenizer: base.tokenizer, card });
    const { r, targetModules } = adapter.config;
    const warnings = changesNothing(adapter) ? [`${options.adapter} changes nothing: every B is zero`] : [];
    const other = adapter.base.name;
    if (other !== undefined && baseName(other) !== baseName(options.base))
      warnings.push(
        `${options.adapter} says that it was trained on ${other}, not on ${options.base}; nothing else says whether they are the same`,
      );
    return { output: options.output, from, r, scale: loraScale(adapter.config), targetModules, warnings };
  } finally {
    await base.close();
  }
}

function readFrom(
  from: "mlx" | "gguf",
  { adapter }: ImportOptions,
  files: Platform["files"],
  base: OpenModel,
): Promise<Adapter> {
  return from === "gguf" ? readGgufLora(files, adapter, base.config) : readMlxAdapter(files, adapter, base.config);
}

async function kindOf(path: string, files: Platform["files"]): Promise<"mlx" | "gguf"> {
  const found = await files.stat(path);
  if (found?.kind === "file" && path.endsWith(".gguf")) return "gguf";
  const names = found?.kind === "folder" ? await files.list(path) : [];
  if (names.includes("adapters.safetensors")) return "mlx";
  if (names.includes("adapter_model.safetensors")) throw new UserError(`${path}: this is a PEFT adapter already`);
  throw new UserError(`${path}: expected an mlx-lm adapter folder (adapters.safetensors) or a LoRA GGUF file`);
}
