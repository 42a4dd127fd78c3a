import { z } from "zod";
import { UserError } from "../../tensor/index.js";
import { countWords } from "../judge.js";
import { type Completion, each, rewardKind } from "./reward.js";

const UNITS: Readonly<Record<"tokens" | "words" | "characters", (completion: Completion) => number>> = {
  tokens: ({ tokens }) => tokens,
  words: ({ text }) => countWords(text),
  characters: ({ text }) => [...text].length,
};

/** 1 for a completion of a length between two bounds, and less the further it is from them. */
export const length = rewardKind({
  description:
    "1 for so many tokens, words or characters (unit) from min to max, less outside: n / min, 2 - n / max, at least 0",
  schema: z.strictObject({
    unit: z.enum(["tokens", "words", "characters"]).default("tokens"),
    min: z.int().min(1).optional(),
    max: z.int().min(1).optional(),
  }),
  create: ({ unit, min, max }, where) => {
    if (min === undefined && max === undefined)
      throw new UserError(`${where}: give min, max or both`, { code: "invalid_config" });
    if (min !== undefined && max !== undefined && min > max)
      throw new UserError(`${where}: min ${min} is more than max ${max}`, { code: "invalid_config" });
    return each((completion) => {
      const n = UNITS[unit](completion);
      if (min !== undefined && n < min) return n / min;
      return max !== undefined && n > max ? Math.max(0, 2 - n / max) : 1;
    });
  },
});
