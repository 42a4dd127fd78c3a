import { asObject, type Fields, openFields } from "../fields.js";
import { pairOfTurns, turnsIn } from "../pairs.js";
import type { PairRow } from "../row.js";
import type { SeenFields } from "../turns.js";
import type { Format } from "./format.js";

/** Pairs as OpenAI's fine-tuning takes them. */
export const openaiPreference: Format = {
  shape:
    '{"input": {"messages": [{"role": "user", "content": "..."}]}, "preferred_output": [{"role": "assistant", "content": "..."}], "non_preferred_output": [...]}',
  needs: ["input", "preferred_output", "non_preferred_output"],
  takes: [],
  rows: "pairs",
  read: readPair,
  trainOn: ["completion"],
};

function readPair(fields: Fields, seen: SeenFields): PairRow {
  const input = openFields(asObject(fields.value("input"), "input"), "input.");
  const prompt = turnsIn(input, "messages", "input.messages", seen);
  const [chosen, rejected] = ["preferred_output", "non_preferred_output"].map((name) =>
    turnsIn(fields, name, name, seen),
  );
  const pair = pairOfTurns(input, prompt, { chosen: chosen!, rejected: rejected! });
  for (const [name] of input.unused()) seen.unused.add(`input.${name}`);
  return pair;
}
