import { UserError } from "../../tensor/index.js";
import { type Fields, literal, unwrapped } from "../fields.js";
import { readPromptCompletion } from "../prompt-completion.js";
import type { JudgedRow } from "../row.js";
import type { SeenFields } from "../turns.js";
import type { Format } from "./format.js";

/** TRL's single answers, each with whether it is a good one. */
export const unpairedPreference: Format = {
  shape: '{"prompt": "...", "completion": "...", "label": true}',
  needs: ["prompt", "completion", "label"],
  takes: ["system", "tools"],
  rows: "judged",
  read: readJudged,
  trainOn: ["completion"],
};

function readJudged(fields: Fields, seen: SeenFields): JudgedRow {
  const label = unwrapped(fields.value("label"));
  if (typeof label !== "boolean" && label !== 0 && label !== 1)
    throw new UserError(`label is ${literal(label)}; expected true (a good answer) or false`);
  return { kind: "judged", answer: readPromptCompletion(fields, seen), desirable: Boolean(label) };
}
