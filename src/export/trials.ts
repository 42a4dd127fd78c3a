import type { Platform } from "../platform/platform.js";
import type { GgufWeightType } from "../tensor/codecs/quants-encode.js";
import { linearType } from "../weights/adapter-base.js";
import type { Track } from "./streamed-run.js";
import type { Subject } from "./subject.js";
import type { Reopened } from "./targets/target.js";

/** One way of running what was exported, beside what it should compute. */
export interface Trial {
  /** How its weights are stored. */
  readonly type: string;
  /** Said after the gates' names, where there are several. */
  readonly label?: string;
  /** What it computes in, or what an adapter's factors are rounded to, where that is less than f32. */
  readonly computes?: "f16" | "bf16";
  /** The export is whole without it, where nobody asked for its type. */
  readonly spare?: true;
  /** Default: base + adapter. */
  readonly expected?: Track;
  /** What computes it in the streamed run, or what runs it alone: logits after every token. */
  readonly found: Track | ((ids: readonly number[], platform: Platform) => Promise<Float32Array>);
}

/** A merged model, beside the base with the adapter merged in and rounded to the types that are stored. */
export function mergedTrial(
  { model, adapter }: Subject,
  { model: written }: Reopened,
  type: GgufWeightType | undefined,
): Trial {
  const { tensors } = written!.tensors;
  const expected = { of: model, merged: adapter, storedAs: (name: string) => tensors.get(name)!.stored };
  return { type: type ?? linearType(written!), expected, found: { of: written! } };
}

/** An adapter, beside the one that it was made of. */
export function adapterTrial({ model }: Subject, { adapter }: Reopened, type: GgufWeightType | undefined): Trial {
  const rounded = type === "f16" || type === "bf16" ? { computes: type } : {};
  return { type: type ?? "f32", ...rounded, found: { of: model, beside: adapter! } };
}
