import { z } from "zod";
import { normalise } from "../judge.js";
import { textsOf } from "./columns.js";
import { each, rewardKind } from "./reward.js";

/** 1 for a completion that is what a column of its row says, but for white space around it. */
export const exactMatch = rewardKind({
  description:
    "1 for what the column (answer) says, a text or one of a list; normalise compares without case and marks",
  schema: z.strictObject({ column: z.string().min(1).default("answer"), normalise: z.boolean().default(false) }),
  create: ({ column, normalise: loosely }, where) => {
    const form = (text: string) => (loosely ? normalise(text) : text.trim());
    return each((completion) =>
      Number(textsOf(completion, column, where).some((answer) => form(answer) === form(completion.text))),
    );
  },
});
