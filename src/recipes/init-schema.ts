import { z } from "zod";
import type { InitName } from "../adapters/index.js";
import { count } from "./schema-parts.js";

/** PEFT's `loftq_config`. */
const loftq = z.strictObject({
  loftq_bits: z
    .union([z.literal(4), z.literal(8)])
    .default(4)
    .describe("Bits in which the base is held: 4 with base_precision nf4, 8 with int8."),
  loftq_iter: count(1)
    .default(1)
    .describe("Rounds; from the second on the base is held without what the factors say, for this run alone."),
});

/** PEFT's `eva_config`. */
const eva = z.strictObject({
  rho: z.number().min(1).default(2).describe("A layer gets at most so many times its rank; 1: each keeps its own."),
  tau: z
    .number()
    .min(0)
    .max(1)
    .default(0.99)
    .describe("Components that a micro-batch turns by a cosine of no less than this have converged."),
  use_label_mask: z.boolean().default(true).describe("Only tokens that are learned count."),
  whiten: z.boolean().default(false).describe("Divide components by the root of their singular value."),
  adjust_scaling_factors: z
    .boolean()
    .default(true)
    .describe("Alpha follows the rank that a layer gets, so that its scale stays."),
});

/** Settings of single starts, by the key in the `lora` section that holds them. */
export const initKeys = {
  loftq_config: loftq.prefault({}).describe("Of lora.init loftq, as PEFT's."),
  eva_config: eva.prefault({}).describe("Of lora.init eva, as PEFT's."),
};

type Section = { readonly init: InitName } & { readonly [K in keyof typeof initKeys]: z.output<(typeof initKeys)[K]> };

/** The start that a key is for. */
const initOf = (key: string): string => key.replace("_config", "");

/** The keys of starts other than the one asked for that say something all the same, and what is wrong with them. */
export const idleInitKeys = (lora: Section) =>
  (Object.keys(initKeys) as (keyof typeof initKeys)[])
    .filter((key) => JSON.stringify(lora[key]) !== JSON.stringify(initKeys[key].parse(undefined)))
    .filter((key) => initOf(key) !== lora.init)
    .map((key) => ({ key, message: `goes with lora.init ${initOf(key)}, and lora.init is ${lora.init}` }));
