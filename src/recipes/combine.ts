import { type CombineOptions, combineAdapters, type Weighted } from "../checkpoint/combine.js";
import { type Extraction, type ExtractOptions, extractAdapter } from "../checkpoint/extract.js";
import type { Files } from "../checkpoint/files.js";
import { openModel, readTokenizer } from "../checkpoint/model-folder.js";
import { readAdapter, writeAdapter } from "../checkpoint/peft.js";
import { LINEARS, type LinearName } from "../models/config.js";
import { UserError } from "../tensor/index.js";
import type { TokenizerFiles } from "../tokenizers/files.js";
import { namedBase, refuseTaken } from "./export-subject.js";
import type { Platform } from "./platform.js";
import { refuseIdlePatterns } from "./targets.js";

export interface CombineRequest extends CombineOptions {
  readonly adapters: readonly { readonly path: string; readonly weight: number }[];
  /** Default: the model that the first adapter names. */
  readonly base?: string;
  readonly output: string;
}

export interface CombineReport {
  readonly output: string;
  readonly method: string;
  readonly r: number;
  readonly targetModules: readonly string[];
  readonly warnings: readonly string[];
}

/**
 * Writes one adapter made of several, as PEFT's `add_weighted_adapter` makes it. The tokenizer and template saved with the
 * first go along. Throws UserError when they do not fit the base or each other.
 */
export async function combine(request: CombineRequest, { files, resolveModel }: Platform): Promise<CombineReport> {
  await refuseTaken(files, request.output);
  if (request.adapters.length === 0) throw new UserError("combine needs at least one adapter");
  const base = await openModel(
    files,
    resolveModel(request.base ?? (await namedBase(files, request.adapters[0]!.path))),
  );
  try {
    const parts: Weighted[] = [];
    const tokenizers: (TokenizerFiles | undefined)[] = [];
    for (const { path, weight } of request.adapters) {
      parts.push({ adapter: await readAdapter(files, path, base.config), weight });
      tokenizers.push(await savedTokenizer(files, path));
    }
    const combined = combineAdapters(parts, request);
    const [tokenizer] = tokenizers;
    await writeAdapter(files, request.output, combined, tokenizer ? { tokenizer } : {});
    const templates = new Set(tokenizers.map((t) => t?.chatTemplate ?? base.tokenizer.chatTemplate));
    const first = request.adapters[0]!.path;
    const warnings =
      templates.size > 1 ? [`the adapters were trained with different chat templates; ${first}'s goes along`] : [];
    const { r, targetModules } = combined.config;
    return { output: request.output, method: request.method, r, targetModules, warnings };
  } finally {
    await base.close();
  }
}

async function savedTokenizer(files: Files, path: string): Promise<TokenizerFiles | undefined> {
  const names = await files.list(path);
  return names.includes("tokenizer.json") ? readTokenizer(files, path, names) : undefined;
}

export interface ExtractRequest extends ExtractOptions {
  readonly base: string;
  readonly tuned: string;
  readonly output: string;
}

export type ExtractReport = { readonly output: string } & Omit<Extraction, "adapter">;

/**
 * Writes the adapter of rank r that is nearest to the difference of two models, with the tuned model's tokenizer. Throws
 * UserError when they differ in shape or not at all.
 */
export async function extract(request: ExtractRequest, { files, resolveModel }: Platform): Promise<ExtractReport> {
  await refuseTaken(files, request.output);
  const base = await openModel(files, resolveModel(request.base));
  try {
    const tuned = await openModel(files, resolveModel(request.tuned));
    try {
      const { targetModules = Object.keys(LINEARS) as LinearName[], rankPattern = {} } = request;
      refuseIdlePatterns("rank pattern", rankPattern, { targetModules }, base.config.numHiddenLayers);
      const { adapter, ...found } = await extractAdapter(base, tuned, request);
      const named = { ...adapter, base: { ...adapter.base, name: request.base } };
      await writeAdapter(files, request.output, named, { tokenizer: tuned.tokenizer });
      return { output: request.output, ...found };
    } finally {
      await tuned.close();
    }
  } finally {
    await base.close();
  }
}
