import { UserError } from "../../tensor/index.js";
import { answer, type Fields, kindOf } from "../fields.js";
import { type Both, equal, pairOfTurns } from "../pairs.js";
import type { Example, PairRow } from "../row.js";
import { readTurns, type SeenFields, type Turn } from "../turns.js";
import type { Format } from "./format.js";

/** TRL's pairs: a better and a worse answer, behind a prompt of their own or with it at the beginning of both. */
export const preference: Format = {
  shape: '{"prompt": "...", "chosen": "...", "rejected": "..."}',
  needs: ["chosen", "rejected"],
  takes: ["prompt", "system", "tools"],
  rows: "pairs",
  read: readPreference,
  trainOn: ["completion"],
};

function readPreference(fields: Fields, seen: SeenFields): PairRow {
  const [prompt, chosen, rejected] = ["prompt", "chosen", "rejected"].map((name) => fields.value(name));
  if (Array.isArray(chosen) && Array.isArray(rejected)) {
    const turns = { chosen: readTurns(chosen, "chosen", seen), rejected: readTurns(rejected, "rejected", seen) };
    return pairOfTurns(fields, promptTurns(prompt, turns.chosen, seen), turns);
  }
  if (Array.isArray(chosen) || Array.isArray(rejected) || Array.isArray(prompt))
    throw new UserError(
      `prompt is ${kindOf(prompt)}, chosen is ${kindOf(chosen)} and rejected is ${kindOf(rejected)}; expected texts, or lists of messages`,
    );
  return pairOfTexts(prompt === undefined ? undefined : fields.text("prompt"), {
    chosen: answer(fields, "chosen"),
    rejected: answer(fields, "rejected"),
  });
}

/**
 * The turns of the prompt; undefined where they are the common beginning of both sides. A prompt that is a text beside whole
 * conversations only repeats their first question.
 */
function promptTurns(prompt: unknown, chosen: readonly Turn[], seen: SeenFields): Turn[] | undefined {
  if (prompt === undefined) return undefined;
  if (Array.isArray(prompt)) return readTurns(prompt, "prompt", seen);
  const asked = chosen.find(({ message }) => message.role === "user")?.message.content;
  if (asked === prompt) return undefined;
  throw new UserError(
    `prompt is ${kindOf(prompt)} beside answers that are lists of messages; give it as messages, or leave it out where both begin with it`,
  );
}

/** A pair of texts. A prompt that is their common beginning ends before a space, as TRL has it. */
function pairOfTexts(prompt: string | undefined, { chosen, rejected }: Both<string>): PairRow {
  if (chosen === rejected) throw new UserError(equal);
  let common = 0;
  while (common < Math.min(chosen.length, rejected.length) && chosen[common] === rejected[common]) common++;
  if (chosen[common - 1] === " ") common--;
  const before = prompt ?? chosen.slice(0, common);
  const read = (text: string, name: string): Example => {
    const completion = prompt === undefined ? text.slice(common) : text;
    if (completion.trim() === "") throw new UserError(`${name} is empty behind the prompt: there is no answer`);
    return { kind: "text", prompt: before, completion };
  };
  return { kind: "pair", chosen: read(chosen, "chosen"), rejected: read(rejected, "rejected") };
}
