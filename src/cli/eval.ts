import type { Columns } from "../data/columns.js";
import type { DatasetOptions } from "../data/dataset.js";
import type { MpiWorld } from "../node/mpi/world.js";
import { configKeys } from "../recipes/config-keys.js";
import { type EvaluateOptions, evaluate as evaluateRows } from "../recipes/evaluate.js";
import type { LoadedModel } from "../recipes/model.js";
import { evaluateSuiteVerb } from "./eval-suite.js";
import { type Action, EXIT, type Io, type Options } from "./io.js";
import { withModel, withWarnings } from "./model-options.js";
import { numberOption } from "./option-values.js";
import { overRanks } from "./over-ranks.js";
import { usageError } from "./usage.js";

export const evaluate: Action = async (_args, options, io) => {
  const rows = {
    format: choiceOption(options, "format", "data.format") as DatasetOptions["format"],
    trainOn: choiceOption(options, "trainOn", "data.train_on") as DatasetOptions["trainOn"],
    columns: columnsOption(options.columns as string | undefined),
    maxSeqLen: numberOption(options, "maxSeqLen", { least: 2, whole: true }),
  };
  if ((options.data === undefined) === (options.suite === undefined))
    throw usageError("give one of --data FILE and --suite FILE");
  if (options.suite !== undefined)
    return overRanks(options, io, (own, world) => evaluateSuiteVerb(options, own, rows, world));
  if (options.report !== undefined) throw usageError("--report is written for a --suite");
  return overRanks(options, io, (own, world) => evaluateFiles(options, own, rows, world));
};

/** `eval --data`: the loss, as text or JSON. */
function evaluateFiles(options: Options, io: Io, rows: EvaluateOptions, world: MpiWorld | undefined): Promise<number> {
  const use = async (model: LoadedModel) => {
    const adapter = options.adapter ? await withWarnings(model, options.adapter as string, io) : undefined;
    const onNote = (message: string) => io.err(`${message}\n`);
    const found = await evaluateRows(model, options.data as string[], {
      ...rows,
      ...(adapter ? { adapter } : {}),
      onNote,
    });
    const { loss, perplexity, supervisedTokens } = found;
    if (options.json) io.out(`${JSON.stringify({ loss, perplexity, supervised_tokens: supervisedTokens })}\n`);
    else
      io.out(`loss ${loss.toFixed(4)}, perplexity ${perplexity.toFixed(3)}, ${supervisedTokens} supervised tokens\n`);
    return EXIT.ok;
  };
  return withModel(options, io, use, world);
}

/** `prompt=question,completion=answer`. */
function columnsOption(text: string | undefined): Columns {
  const pairs = text?.split(",").map((pair) => pair.split("=")) ?? [];
  const wrong = pairs.find((pair) => pair.length !== 2 || pair.some((side) => side.trim() === ""));
  if (wrong) throw usageError(`--columns: expected FIELD=COLUMN,FIELD=COLUMN,..., got '${text}'`);
  return Object.fromEntries(pairs.map(([field, column]) => [field!.trim(), column!.trim()]));
}

/** A flag that takes what a config key takes. */
function choiceOption(options: Options, name: string, key: string): string {
  const { schema, type } = configKeys().find((entry) => entry.key === key)!;
  const value = options[name];
  if (schema.safeParse(value).success) return value as string;
  throw usageError(`--${name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}: expected ${type}, got '${value}'`);
}
