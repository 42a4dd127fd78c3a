import { z } from "zod";
import { UserError } from "../../tensor/index.js";
import { boundedRegex } from "../../tensor/regex/index.js";
import { textsOf } from "./columns.js";
import { each, rewardKind } from "./reward.js";

/** 1 for a completion that a regular expression, Python's, is found in. */
export const regex = rewardKind({
  description:
    "1 where a regular expression (Python's) is found: pattern, or a column that holds one; whole: it is all of the text",
  schema: z.strictObject({
    pattern: z.string().min(1).optional(),
    column: z.string().min(1).optional(),
    whole: z.boolean().default(false),
  }),
  create: ({ pattern, column, whole }, where) => {
    if ((pattern === undefined) === (column === undefined))
      throw new UserError(`${where}: give a pattern, or the column that holds one`, { code: "invalid_config" });
    const fixed = pattern === undefined ? undefined : boundedRegex(pattern, "python", `${where}: pattern`);
    return each((completion) => {
      const found = fixed ?? boundedRegex(textsOf(completion, column!, where)[0]!, "python", `${where}: ${column}`);
      const { text } = completion;
      return Number(whole ? found.matchesWhole(text) : found.in(text)(0) !== undefined);
    });
  },
});
