import { z } from "zod";
import type { TrainConfig } from "../../recipes/config-schema.js";
import { ApiError } from "../errors.js";
import { parseBody, whole, withoutNull } from "../fields.js";
import type { Hyperparameters } from "./wire.js";

/** A number, or "auto". */
const orAuto = (value: z.ZodType<number>, expected: string) =>
  z.union([z.literal("auto"), value], `expected ${expected}, or 'auto'`).default("auto");
const nested = <T extends z.ZodType>(schema: T) => z.preprocess(withoutNull, schema).optional();

const hyperparameters = z.strictObject(
  {
    n_epochs: orAuto(z.int().min(1).max(100), "a whole number from 1 to 100"),
    batch_size: orAuto(z.int().min(1).max(256), "a whole number from 1 to 256"),
    learning_rate_multiplier: orAuto(z.number().positive().max(1000), "a number above 0 and up to 1000"),
  },
  "expected an object",
);
const preference = hyperparameters.extend({
  beta: orAuto(z.number().positive().max(100), "a number above 0 and up to 100"),
});
const anId = (what: string) => z.string(`expected the id of ${what}`);
const wandbPlace = z.strictObject(
  {
    project: z.string("expected the name of a project").min(1).max(128),
    name: z.string("expected a text").max(128).optional(),
    entity: z.string("expected a text").max(128).optional(),
    tags: z.array(z.string().max(64)).max(16, "at most 16 tags").optional(),
  },
  "expected an object with a project",
);

/** The body of a new job. */
export const jobBody = z.strictObject({
  model: z.string("expected the name of the base, or of a model that a job made"),
  training_file: anId("an uploaded file"),
  validation_file: anId("an uploaded file").optional(),
  suffix: z
    .string("expected a text")
    .regex(/^[\w.-]{1,64}$/, "expected 1 to 64 letters, digits, '_', '.' and '-'")
    .optional(),
  seed: whole(0, 0x7fffffff).optional(),
  hyperparameters: nested(hyperparameters),
  method: nested(
    z.strictObject(
      {
        type: z.enum(["supervised", "dpo"], "expected 'supervised' or 'dpo'"),
        supervised: nested(z.strictObject({ hyperparameters: nested(hyperparameters) }, "expected an object")),
        dpo: nested(z.strictObject({ hyperparameters: nested(preference) }, "expected an object")),
      },
      "expected an object",
    ),
  ),
  integrations: z
    .array(
      z.preprocess(
        withoutNull,
        z.strictObject(
          { type: z.literal("wandb", "expected 'wandb'"), wandb: z.preprocess(withoutNull, wandbPlace) },
          "expected an object with type and wandb",
        ),
      ),
      "expected a list of integrations",
    )
    .max(1, "at most one")
    .optional(),
  metadata: z
    .record(z.string().max(64), z.string().max(512), "expected texts by names")
    .refine((data) => Object.keys(data).length <= 16, "at most 16 entries")
    .optional(),
});

export interface JobRequest extends Omit<z.output<typeof jobBody>, "hyperparameters" | "method"> {
  readonly hyperparameters: z.output<typeof hyperparameters>;
  /** How preferences are learned; undefined: the rows' answers are. */
  readonly dpo?: { readonly beta: number | "auto" };
}

const REINFORCEMENT =
  "method: 'reinforcement' is not taken here, as its graders run on OpenAI's machines; lowrank train with objective {name: grpo} learns from rewards (docs/grpo.md), and this server serves what it makes. Jobs take 'supervised' and 'dpo'";

/** Reads the body of a new job. Throws ApiError naming the field that is wrong or not supported. */
export function readJobRequest(body: Record<string, unknown>): JobRequest {
  if ((body.method as { type?: unknown } | null | undefined)?.type === "reinforcement")
    throw new ApiError(400, REINFORCEMENT, { param: "method.type" });
  const { hyperparameters: older, method, ...rest } = parseBody(jobBody, body, {});
  const type = method?.type ?? "supervised";
  const other = type === "dpo" ? "supervised" : "dpo";
  if (method?.[other]) throw new ApiError(400, `method.${other}: the method's type is '${type}'`, { param: "method" });
  const given = method?.[type]?.hyperparameters;
  if (older && given) {
    throw new ApiError(400, `hyperparameters: given twice; keep those in method.${type}`, {
      param: "hyperparameters",
    });
  }
  const { beta = "auto", ...chosen } = { ...(given ?? older ?? hyperparameters.parse({})) } as z.output<
    typeof preference
  >;
  return { ...rest, hyperparameters: chosen, ...(type === "dpo" ? { dpo: { beta } } : {}) };
}

/** Optimiser steps that "auto" makes room for with smaller batches: about as few as teach a habit (docs/serve.md has a measurement). */
const STEPS = 100;

/** The rate of preferences, by that of answers: an adapter learns them at a tenth of it. */
const PREFERENCE_RATE = 0.1;

/**
 * "auto" made numbers. Epochs as OpenAI's cookbook chooses them (its notebook on preparing chat data): 3, more for fewer than 34
 * rows, fewer for more than 8,333. The batch is the operator's, smaller where there would be fewer than 100 steps; the rate is
 * the operator's, or for preferences a tenth of it.
 */
export function chooseHyperparameters(
  { n_epochs, batch_size, learning_rate_multiplier: rate }: JobRequest["hyperparameters"],
  rows: number,
  usual: Pick<TrainConfig, "batchSize" | "gradientAccumulationSteps">,
  { prefers = false } = {},
): Hyperparameters {
  const epochs =
    rows * 3 < 100
      ? Math.min(25, Math.floor(100 / rows))
      : rows * 3 > 25_000
        ? Math.max(1, Math.floor(25_000 / rows))
        : 3;
  const chosen = n_epochs === "auto" ? epochs : n_epochs;
  const fitting = Math.floor((chosen * rows) / (STEPS * usual.gradientAccumulationSteps));
  return {
    n_epochs: chosen,
    batch_size: batch_size === "auto" ? Math.max(1, Math.min(usual.batchSize, rows, fitting)) : batch_size,
    learning_rate_multiplier: rate === "auto" ? (prefers ? PREFERENCE_RATE : 1) : rate,
  };
}
