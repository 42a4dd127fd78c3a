import type { Columns } from "../data/columns.js";
import type { DatasetOptions } from "../data/dataset.js";
import { configKeys } from "../recipes/config-keys.js";
import { evaluate as evaluateRows } from "../recipes/evaluate.js";
import { evaluateSuiteVerb } from "./eval-suite.js";
import { type Action, EXIT, type Options } from "./io.js";
import { withModel, withWarnings } from "./model-options.js";
import { numberOption } from "./option-values.js";
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
  if (options.suite !== undefined) return evaluateSuiteVerb(options, io, rows);
  if (options.report !== undefined) throw usageError("--report is written for a --suite");
  return withModel(options, io, async (model) => {
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
  });
};

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
