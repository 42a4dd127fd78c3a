import { gguf } from "./gguf.js";
import { ggufLora } from "./gguf-lora.js";
import { hf } from "./hf.js";
import { mlx } from "./mlx.js";
import { onnx } from "./onnx.js";
import { peft } from "./peft.js";
import type { ExportTarget } from "./target.js";

/** Every form in which an adapter leaves, by the word of `export --to`. */
export const EXPORT_TARGETS = {
  peft,
  hf,
  gguf,
  "gguf-lora": ggufLora,
  onnx,
  mlx,
} as const satisfies Readonly<Record<string, ExportTarget>>;

export type ExportTargetName = keyof typeof EXPORT_TARGETS;

export const EXPORT_TARGET_NAMES = Object.keys(EXPORT_TARGETS) as ExportTargetName[];

/** The target of that name. */
export const exportTarget = (name: ExportTargetName): ExportTarget => EXPORT_TARGETS[name];
