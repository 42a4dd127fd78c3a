import { z } from "zod";
import type { TrainConfig } from "../../recipes/config-schema.js";
import { ApiError } from "../errors.js";
import { parseBody } from "../schema.js";
import type { Hyperparameters } from "./wire.js";

const auto = z.literal("auto");
const hyperparameters = z.strictObject({
  n_epochs: z.union([auto, z.int().min(1).max(100)]).default("auto"),
  batch_size: z.union([auto, z.int().min(1).max(256)]).default("auto"),
  learning_rate_multiplier: z.union([auto, z.number().positive().max(1000)]).default("auto"),
});
const schema = z.strictObject({
  model: z.string(),
  training_file: z.string(),
  validation_file: z.string().optional(),
  suffix: z
    .string()
    .regex(/^[\w.-]{1,64}$/, "expected 1 to 64 letters, digits, '_', '.' and '-'")
    .optional(),
  seed: z.int().min(0).max(0x7fffffff).optional(),
  hyperparameters: hyperparameters.optional(),
  method: z
    .strictObject({
      type: z.literal("supervised", { error: "'supervised' is the only method here" }),
      supervised: z.strictObject({ hyperparameters: hyperparameters.optional() }).optional(),
    })
    .optional(),
  metadata: z
    .record(z.string().max(64), z.string().max(512))
    .refine((data) => Object.keys(data).length <= 16, "at most 16 entries")
    .optional(),
});

const NEUTRAL = { integrations: (v: unknown) => Array.isArray(v) && v.length === 0 };

export interface JobRequest extends Omit<z.output<typeof schema>, "hyperparameters" | "method"> {
  readonly hyperparameters: z.output<typeof hyperparameters>;
}

/** Reads the body of a new job. Throws ApiError naming the field that is wrong or not supported. */
export function readJobRequest(body: Record<string, unknown>): JobRequest {
  const { hyperparameters: older, method, ...rest } = parseBody(schema, body, NEUTRAL);
  const given = method?.supervised?.hyperparameters;
  if (older && given) {
    throw new ApiError(400, "hyperparameters: given twice; keep those in method.supervised", {
      param: "hyperparameters",
    });
  }
  return { ...rest, hyperparameters: given ?? older ?? hyperparameters.parse({}) };
}

/** Optimiser steps that "auto" makes room for with smaller batches: about as few as teach a habit (docs/serve.md has a measurement). */
const STEPS = 100;

/**
 * "auto" made numbers. Epochs as OpenAI's cookbook chooses them (its notebook on preparing chat data): 3, more for fewer than 34
 * rows, fewer for more than 8,333. The batch is the operator's, smaller where there would be fewer than 100 steps; the rate is
 * the operator's.
 */
export function chooseHyperparameters(
  { n_epochs, batch_size, learning_rate_multiplier: rate }: JobRequest["hyperparameters"],
  rows: number,
  usual: Pick<TrainConfig, "batchSize" | "gradientAccumulationSteps">,
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
    learning_rate_multiplier: rate === "auto" ? 1 : rate,
  };
}
