import { z } from "zod";
import { bestMetric, SUITE } from "./best.js";
import { count, path } from "./schema-parts.js";

/** Keys of the config that say what an evaluation does and what comes of it, those beside `data.validation`. */
export const evaluationKeys = {
  eval_every: count(0)
    .default(100)
    .describe(
      "Optimiser steps between evaluations; 0: only at the end. What is evaluated: data.validation, eval_suite, samples (docs/evaluations.md).",
    ),
  eval_suite: path(
    z.string().min(1).nullable().default(null),
    "A suite (docs/suites.md) that is asked at every evaluation; its figures are `eval_suite/facts` and so on in metrics.jsonl.",
  ),
  samples: z
    .strictObject({
      prompts: z
        .array(z.string().min(1))
        .min(1)
        .nullable()
        .default(null)
        .describe("What base and adapter are asked at every evaluation; their answers are in samples.jsonl."),
      file: path(z.string().min(1).nullable().default(null), "In the place of prompts: a file of them, one a line."),
      max_new_tokens: count(1).max(4096).default(64).describe("The most tokens of an answer."),
    })
    .prefault({})
    .describe("Prompts that base and adapter answer side by side at every evaluation."),
  metric_for_best_model: z
    .string()
    .min(1)
    .nullable()
    .default(null)
    .describe(
      "The figure of evaluations by which checkpoints/best is chosen, as metrics.jsonl names it: `eval_loss`, `eval_suite/facts`, ...; `eval_` may be left out. null: eval_loss with data.validation, else eval_suite/score.",
    ),
  greater_is_better: z
    .boolean()
    .nullable()
    .default(null)
    .describe("Whether more of that figure is better. null: as the figure has it; less of a loss, more of the facts."),
  load_best_model_at_end: z
    .boolean()
    .default(false)
    .describe("Write the adapter of the best evaluation as the result, and not that of the last step."),
  early_stopping_patience: count(1)
    .nullable()
    .default(null)
    .describe("End the run after so many evaluations one after the other in which the figure got no better."),
  early_stopping_threshold: z
    .number()
    .min(0)
    .default(0)
    .describe("By how much more than this a figure has to get better to count against the patience."),
};

interface Asked {
  readonly full_finetune: boolean;
  readonly data: { readonly validation: unknown };
  readonly eval_suite: string | null;
  readonly samples: { readonly prompts: readonly string[] | null; readonly file: string | null };
  readonly metric_for_best_model: string | null;
  readonly greater_is_better: boolean | null;
  readonly load_best_model_at_end: boolean;
  readonly early_stopping_patience: number | null;
  readonly early_stopping_threshold: number;
}

/** What does not go together in these keys. */
export function wrongEvaluation(asked: Asked): { readonly path: string[]; readonly message: string } | undefined {
  const { samples, eval_suite: suite, full_finetune: full, early_stopping_patience: patience } = asked;
  const key = (name: keyof Asked, message: string) => ({ path: [name], message });
  if (samples.prompts !== null && samples.file !== null)
    return key("samples", "takes prompts or a file of them, not both");
  if (full && suite !== null) return key("eval_suite", WITHOUT_ADAPTER);
  if (full && (samples.prompts !== null || samples.file !== null)) return key("samples", WITHOUT_ADAPTER);
  if (asked.early_stopping_threshold > 0 && patience === null)
    return key("early_stopping_threshold", "says when patience ends; give early_stopping_patience too");
  const metric = bestMetric({
    validation: asked.data.validation !== null,
    suite: suite !== null,
    metricForBestModel: asked.metric_for_best_model,
    greaterIsBetter: asked.greater_is_better,
  });
  const needing = (["metric_for_best_model", "greater_is_better", "load_best_model_at_end"] as const).find(
    (name) => asked[name] !== null && asked[name] !== false,
  );
  const wanted = needing ?? (patience === null ? undefined : "early_stopping_patience");
  if (wanted === undefined) return undefined;
  if (!metric) return key(wanted, "goes by a figure of evaluations; give data.validation or eval_suite");
  const isSuite = metric.name.startsWith(SUITE);
  if (isSuite && suite === null) return key("metric_for_best_model", "is a suite's figure; give eval_suite too");
  if (!isSuite && asked.data.validation === null)
    return key("metric_for_best_model", "is a figure of validation rows; give data.validation too");
  return undefined;
}

const WITHOUT_ADAPTER = "compares with the base that an adapter leaves as it was; with full_finetune there is none";
