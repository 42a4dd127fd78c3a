import { type CombineOptions, checkOneBase, combineAdapters, type Weighted } from "../export/combine.js";
import { type Extraction, type ExtractOptions, extractAdapter, leadingDirections } from "../export/extract.js";
import { namedBase, refuseTaken } from "../export/subject.js";
import { adapterFolder } from "../formats/adapter-folder.js";
import { baseName, type Files } from "../formats/files.js";
import { adapterCard } from "../formats/model-card.js";
import { readAdapter, writeAdapter } from "../formats/peft/adapter.js";
import { linearNames } from "../models/config.js";
import type { Platform } from "../platform/platform.js";
import { UserError } from "../tensor/index.js";
import { hasTemplates, type TokenizerFiles, templatesForConfig } from "../tokenizers/files.js";
import { openModel, readTokenizer } from "../weights/model-folder.js";
import { evaluate } from "./evaluate.js";
import { applyAdapter, loadModel } from "./model.js";
import { type RankLoss, rankChart } from "./rank-chart.js";
import { refuseIdlePatterns } from "./targets.js";

export interface CombineRequest extends CombineOptions {
  /** PEFT adapter folders, and how much of each; a negative weight takes one out. */
  readonly adapters: readonly { readonly path: string; readonly weight: number }[];
  /** Default: the model that the first adapter names. */
  readonly base?: string;
  /** The adapter folder to be written. */
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
export async function combine(asked: CombineRequest, { files, resolveModel }: Platform): Promise<CombineReport> {
  await refuseTaken(files, asked.output);
  if (asked.adapters.length === 0) throw new UserError("combine needs at least one adapter");
  const adapters: CombineRequest["adapters"][number][] = [];
  for (const one of asked.adapters) adapters.push({ ...one, path: await adapterFolder(files, one.path) });
  const request = { ...asked, adapters };
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
    await checkOneBase(parts);
    const combined = combineAdapters(parts, request);
    const [tokenizer] = tokenizers;
    const card = await adapterCard(files, combined.base.name ?? base.path);
    await writeAdapter(files, request.output, combined, { card, ...(tokenizer ? { tokenizer } : {}) });
    const templatesOf = (own: TokenizerFiles | undefined) => (own && hasTemplates(own) ? own : base.tokenizer);
    const templates = new Set(tokenizers.map((own) => JSON.stringify(templatesForConfig(templatesOf(own)))));
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

/** The loss on some rows of the base, of the adapter cut to lower ranks, and of the tuned model. */
async function lossesOf(
  { base, tuned, output }: ExtractRequest,
  data: string,
  { energy }: Pick<Extraction, "energy">,
  platform: Platform,
): Promise<{ losses: RankLoss[]; tunedLoss: number }> {
  const losses: RankLoss[] = [];
  const model = await loadModel(base, platform);
  try {
    const whole = await applyAdapter(model, output);
    for (const rank of [0, ...energy.map((point) => point.rank)]) {
      // Rank 0 is rank 1 with B = 0: the base, with the tuned model's template.
      const cut = leadingDirections(whole.adapter, Math.max(1, rank));
      if (rank === 0) for (const [name, { data }] of cut.tensors) if (name.includes(".lora_B.")) data.fill(0 as never);
      const { loss } = await evaluate(model, data, { adapter: { ...whole, adapter: cut } });
      losses.push({ rank, loss });
    }
  } finally {
    await model.dispose();
  }
  const other = await loadModel(tuned, platform);
  try {
    return { losses, tunedLoss: (await evaluate(other, data)).loss };
  } finally {
    await other.dispose();
  }
}

export interface ExtractRequest extends ExtractOptions {
  /** The model before. */
  readonly base: string;
  /** The model after: of the same shape. */
  readonly tuned: string;
  /** The adapter folder to be written. */
  readonly output: string;
  /** A chart of energy (and loss) against rank: a name that ends in `.svg`. Default: none. */
  readonly report?: string;
  /** Rows that the loss at each rank is taken on. Default: none is taken. */
  readonly data?: string;
}

export type ExtractReport = { readonly output: string } & Omit<Extraction, "adapter"> & {
    /** With `data`: loss of the base (rank 0) and of the adapter cut to each rank of `energy`; and of the tuned model. */
    readonly losses?: readonly RankLoss[];
    readonly tunedLoss?: number;
  };

/**
 * Writes the adapter of rank r that is nearest to the difference of two models, with the tuned model's tokenizer. Throws
 * UserError when they differ in shape or not at all.
 */
export async function extract(request: ExtractRequest, platform: Platform): Promise<ExtractReport> {
  const { files, resolveModel } = platform;
  const { report, data } = request;
  if (report !== undefined && !report.endsWith(".svg"))
    throw new UserError(`${report}: the report is an SVG image; give it a name that ends in .svg`);
  await refuseTaken(files, request.output);
  if (report !== undefined) await refuseTaken(files, report);
  const base = await openModel(files, resolveModel(request.base));
  try {
    const tuned = await openModel(files, resolveModel(request.tuned));
    try {
      const { targetModules = linearNames(base.config), rankPattern = {} } = request;
      refuseIdlePatterns("rank pattern", rankPattern, { targetModules }, base.config);
      const { adapter, ...found } = await extractAdapter(base, tuned, request);
      const named = { ...adapter, base: { ...adapter.base, name: request.base } };
      const card = await adapterCard(files, request.base);
      await writeAdapter(files, request.output, named, { tokenizer: tuned.tokenizer, card });
      const worth: { losses?: RankLoss[]; tunedLoss?: number } =
        data === undefined ? {} : await lossesOf(request, data, found, platform);
      if (report !== undefined) {
        const title = `${baseName(request.tuned)} against ${baseName(request.base)}`;
        await files.write(report, rankChart(found.energy, worth.losses ?? [], { title, ...worth }));
      }
      return { output: request.output, ...found, ...worth };
    } finally {
      await tuned.close();
    }
  } finally {
    await base.close();
  }
}
