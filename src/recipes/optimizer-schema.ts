import { z } from "zod";
import { OPTIMIZERS } from "../training/optimizers/index.js";
import type { OptimizerKind, OptimizerOptions } from "../training/optimizers/optimizer.js";
import { camelCase } from "./names.js";
import { keysOf, meanings } from "./schema-parts.js";

/** Keys that not every optimiser goes by. */
const OWN = ["betas", "eps", "weight_decay"] as const;

const table = z.strictObject({
  name: keysOf(OPTIMIZERS).default("adamw").describe(meanings(OPTIMIZERS)),
  lr: z.number().positive().default(2e-4).describe("Peak learning rate."),
  betas: z
    .tuple([z.number().min(0).lt(1), z.number().min(0).lt(1)])
    .default([0.9, 0.999])
    .describe("Decay of the first and second moments."),
  eps: z.number().positive().default(1e-8).describe("Added to the root of the second moment."),
  weight_decay: z.number().min(0).default(0.01).describe("Decoupled weight decay."),
  loraplus_lr_ratio: z
    .number()
    .min(1)
    .nullable()
    .default(null)
    .describe("LoRA+: B's learning rate is so many times `lr`, which stays A's; null: they have the same."),
});

/** The `optimizer` section of a config. What an optimiser does not go by is refused. */
export const optimizerSchema = table
  .superRefine((given, context) => {
    const { uses }: OptimizerKind = OPTIMIZERS[given.name];
    const usual = table.parse({});
    for (const key of OWN) {
      if (uses.includes(camelCase(key) as keyof OptimizerOptions) || `${given[key]}` === `${usual[key]}`) continue;
      const message = `${given.name} has no ${key}; leave it out, or take another optimizer.name`;
      context.addIssue({ code: "custom", path: [key], message });
    }
  })
  .prefault({})
  .describe("The optimiser.");
