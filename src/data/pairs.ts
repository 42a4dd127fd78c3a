import { UserError } from "../tensor/index.js";
import { chatRow } from "./chat-row.js";
import { asObject, type Fields } from "./fields.js";
import { type Example, isAssistant, type PairRow } from "./row.js";
import { readTurns, type SeenFields, type Turn } from "./turns.js";

/** Both sides of a pair. */
export type Both<T> = Readonly<Record<"chosen" | "rejected", T>>;

export const equal = "chosen and rejected are the same: there is nothing to prefer";

/** A pair of conversations. Throws UserError where a side has no answer, and where there is nothing between the two. */
export function pairOfTurns(
  fields: Fields,
  prompt: readonly Turn[] | undefined,
  sides: Both<readonly Turn[]>,
): PairRow {
  const same = (i: number) => JSON.stringify(sides.chosen[i]) === JSON.stringify(sides.rejected[i]);
  const least = Math.min(sides.chosen.length, sides.rejected.length);
  let common = 0;
  while (common < least && same(common)) common++;
  if (common === sides.chosen.length && common === sides.rejected.length) throw new UserError(equal);
  const before = prompt ?? sides.chosen.slice(0, common);
  if (before.length === 0) throw new UserError("there is no prompt, and chosen and rejected have no common beginning");
  const read = (name: keyof typeof sides): Example => {
    const after = prompt ? sides[name] : sides[name].slice(common);
    if (!after.some(({ message }) => isAssistant(message))) throw new UserError(`${name} has no assistant turn`);
    return chatRow(fields, [...before, ...after], before.length);
  };
  return { kind: "pair", chosen: read("chosen"), rejected: read("rejected") };
}

/** A list of turns in an object's field. Throws UserError where it is none. */
export function turnsIn(fields: Fields, name: string, where: string, seen: SeenFields): Turn[] {
  const list = fields.list(name);
  if (!list || list.length === 0) throw new UserError(`${where} must be a list of messages`);
  for (const [i, turn] of list.entries()) asObject(turn, `${where}[${i}]`);
  return readTurns(list, where, seen);
}
