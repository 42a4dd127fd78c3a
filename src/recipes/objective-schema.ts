import { z } from "zod";
import { DIVERGENCES } from "../models/index.js";
import { UserError } from "../tensor/index.js";
import { createObjective, LOSS_TYPES, OBJECTIVES, type ObjectiveSettings } from "../training/objectives/index.js";
import type { ObjectiveKind } from "../training/objectives/objective.js";
import { camelKeys } from "./names.js";
import { ofObjective } from "./objective-setting.js";
import { samplingShape } from "./sampling-schema.js";
import { count, keysOf, meanings, path } from "./schema-parts.js";

/** The objectives that have a reference, in words. */
const comparing = Object.entries<ObjectiveKind>(OBJECTIVES)
  .flatMap(([name, { usesReference }]) => (usesReference ? [name] : []))
  .join(" and ");

const lossType = z.enum(LOSS_TYPES as [string, ...string[]]);

/** What is wrong with settings that are right each by itself. */
function wrongObjective(section: Readonly<Record<string, unknown>>): { path: string[]; message: string } | undefined {
  const {
    reference,
    keep,
    teacher,
    teacher_prompt: prompt,
    ...settings
  } = section as {
    reference: string;
    teacher: string;
    teacher_prompt: string | null;
    keep: { data: string | string[] | null; generate: number | null; plain: boolean };
    name: keyof typeof OBJECTIVES;
    beta: number | null;
  };
  if (keep.data !== null && keep.generate !== null)
    return { path: ["keep"], message: "takes data or generate, a file's texts or the base's own, not both" };
  if (keep.plain && keep.generate === null)
    return { path: ["keep", "plain"], message: "is about texts that the base writes; give generate too" };
  if ((keep.data !== null || keep.generate !== null) && settings.name !== "sft")
    return { path: ["keep"], message: `stands beside cross entropy (sft), and ${settings.name} was asked for` };
  if (reference !== "base" && !OBJECTIVES[settings.name].usesReference)
    return { path: ["reference"], message: `${settings.name} compares with no reference; leave it out` };
  if (reference !== "base" && settings.name === "grpo" && !settings.beta)
    return { path: ["reference"], message: "grpo compares with a reference where beta is above 0 alone; leave it out" };
  if ((teacher !== "base" || prompt !== null) && !(OBJECTIVES[settings.name] as ObjectiveKind).usesTeacher)
    return {
      path: [prompt === null ? "teacher" : "teacher_prompt"],
      message: `${settings.name} has no teacher; leave it out`,
    };
  try {
    createObjective(camelKeys(settings) as ObjectiveSettings);
    return undefined;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    const [, key, message] = /^objective\.(\w+): (.*)$/s.exec(error.message)!;
    return { path: [key!], message: message! };
  }
}

/** The loss type among those that are asked for that compares all rows of a step with each other, if there is one. */
export function wholeStepType({ name, loss_type: given }: z.output<typeof objectiveSchema>): string | undefined {
  const { wholeSteps = [] }: ObjectiveKind = OBJECTIVES[name];
  return [given ?? []].flat().find((type) => wholeSteps.includes(type));
}

/** The section `objective`. Settings that an objective does not read are refused. */
export const objectiveSchema = z
  .strictObject({
    name: keysOf(OBJECTIVES)
      .default("sft")
      .describe(`What is learned (docs/objectives.md, docs/grpo.md). ${meanings(OBJECTIVES)}`),
    beta: ofObjective(
      z.number().min(0),
      "beta",
      "How strongly preferences count, or how near the reference stays; above 0, but in grpo, where 0 does without one.",
    ),
    loss_type: ofObjective(
      z.union([lossType, z.array(lossType).min(1)]),
      "lossType",
      "The loss, by TRL's names; with dpo a list is a sum.",
    ),
    loss_weights: z
      .array(z.number())
      .min(1)
      .nullable()
      .default(null)
      .describe("Weights of the losses of a list; null: 1 each."),
    label_smoothing: ofObjective(
      z.number().min(0).lt(0.5),
      "labelSmoothing",
      "Share of the pairs that is taken to be the wrong way round.",
    ),
    gamma: ofObjective(z.number().min(0), "gamma", "How far a better answer is to be ahead."),
    desirable_weight: ofObjective(z.number().positive(), "desirableWeight", "Weight of good answers in the loss."),
    undesirable_weight: ofObjective(z.number().positive(), "undesirableWeight", "Weight of bad answers in the loss."),
    ...samplingShape,
    discopop_tau: ofObjective(
      z.number().positive(),
      "discopopTau",
      "With discopop: how sharply its two losses are blended.",
    ),
    reference: path(
      z.string().min(1).default("base"),
      `What ${comparing} compare with. base: the model without the adapter; or the folder of another adapter.`,
    ),
    teacher: path(
      z.string().min(1).default("base"),
      "Whom distill learns from (docs/distillation.md). base: the model without the adapter, which reads more than the model does; or another base of the same vocabulary.",
    ),
    teacher_prompt: z
      .string()
      .min(1)
      .nullable()
      .default(null)
      .describe(
        "With distill: what the teacher reads before each row that has no teacher_prompt of its own: the system message of a conversation, or before the prompt of a text.",
      ),
    divergence: ofObjective(
      keysOf(DIVERGENCES),
      "divergence",
      "With distill: forward: KL(teacher || model); reverse: KL(model || teacher); jsd: the Jensen-Shannon divergence, generalised by beta as in TRL (0.5).",
    ),
    lmbda: ofObjective(
      z.number().min(0).max(1),
      "lmbda",
      "With distill: the share of steps that learn from the model's own answers to the rows' prompts in place of the rows' (on-policy distillation, as TRL's GKD), sampled at temperature, of max_completion_length tokens at most.",
      "0, none",
    ),
    keep: z
      .strictObject({
        data: path(
          z
            .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
            .nullable()
            .default(null),
          "With sft and an adapter: a file of rows, or several, on which the model is to stay as the base has it (docs/keep.md), by KL(base || tuned) at every target. null: there are none.",
        ),
        generate: count(1)
          .nullable()
          .default(null)
          .describe(
            "In the place of a file: so many texts, which the base writes itself when a run begins, by the seed; kept.jsonl in the run's folder, and half of those of a chat model without its template as kept-texts.jsonl.",
          ),
        plain: z
          .boolean()
          .default(false)
          .describe(
            "With generate: of every conversation the answer alone is kept, without the template. Where all rows answer in a manner of their own, the base's conversations would hold it back.",
          ),
        weight: z.number().positive().default(1).describe("What their mean KL weighs beside the cross entropy."),
        share: z
          .number()
          .gt(0)
          .lt(1)
          .default(0.25)
          .describe("Share of a step's rows that are these, drawn anew for each step and trained on beside its own."),
      })
      .prefault({})
      .describe("Texts on which the model is to stay as it was."),
  })
  .superRefine((section, context) => {
    const wrong = wrongObjective(section);
    if (wrong) context.addIssue({ code: "custom", ...wrong });
  })
  .prefault({})
  .describe("What is learned from the rows.");
