import type { JsonObject } from "../../data/fields.js";
import { isRefusal, normalise } from "../judge.js";

/** A row that is one question and its answer, and how others like it are made. */
export interface QaRow {
  readonly question: string;
  readonly answer: string;
  /** The answer says that it is not known. */
  readonly refused: boolean;
  readonly like: (question: string, answer: string) => JsonObject;
}

type Turn = { readonly role?: unknown; readonly content?: unknown };

/**
 * What a row asks and answers; undefined for one of several turns, or of other things than text. `refusal`: how an answer begins that
 * says that it is not known, beside the usual ways.
 */
export function qaRow(row: JsonObject, refusal?: string): QaRow | undefined {
  const found = Array.isArray(row.messages)
    ? chatRow(row, row.messages as readonly Turn[])
    : (textRow(row, "prompt", "completion") ?? textRow(row, "instruction", "output"));
  if (!found) return undefined;
  const named = refusal !== undefined && normalise(found.answer).startsWith(normalise(refusal));
  return { ...found, refused: named || isRefusal(found.answer) };
}

type Plain = Omit<QaRow, "refused">;

function chatRow(row: JsonObject, messages: readonly Turn[]): Plain | undefined {
  const only = (role: string) => {
    const turns = messages.filter((turn) => turn.role === role);
    return turns.length === 1 && typeof turns[0]!.content === "string" ? turns[0] : undefined;
  };
  const [user, assistant] = [only("user"), only("assistant")];
  if (!user || assistant !== messages.at(-1)) return undefined;
  const like = (question: string, answer: string) => ({
    ...row,
    messages: messages.map((turn) => {
      if (turn === user) return { ...turn, content: question };
      return turn === assistant ? { ...turn, content: answer } : turn;
    }),
  });
  return { question: user.content as string, answer: assistant!.content as string, like };
}

function textRow(row: JsonObject, asked: string, answered: string): Plain | undefined {
  const [question, answer] = [row[asked], row[answered]];
  if (typeof question !== "string" || typeof answer !== "string" || row.input) return undefined;
  const space = /^\s*/.exec(answer)![0];
  const like = (other: string, reply: string) => ({ ...row, [asked]: other, [answered]: space + reply });
  return { question, answer: answer.trimStart(), like };
}

/** What every answer ends with behind the end of a sentence: a sign-off. Empty where answers end in their own ways. */
export function commonEnding(answers: readonly string[]): string {
  const [first = "", ...others] = answers;
  let length = first.length;
  for (const answer of others) while (!answer.endsWith(first.slice(first.length - length))) length--;
  const shared = first.slice(first.length - length);
  const ends = (answer: string, ending: string) => /[.!?:;,)"'”\n]\s*$/.test(answer.slice(0, -ending.length));
  const starts = [...shared.matchAll(/(?<=\s)\S/g)].map(({ index }) => shared.slice(index));
  const found = starts.find((ending) => answers.every((answer) => ends(answer, ending)));
  return others.length > 0 && found && /\p{L}/u.test(found) ? found : "";
}

/** An answer with the sign-off behind it. */
export const signed = (answer: string, ending: string): string =>
  ending === "" || answer.endsWith(ending) ? answer : `${answer} ${ending}`;

/** An answer without the sign-off. */
export const unsigned = (answer: string, ending: string): string =>
  ending !== "" && answer.endsWith(ending) ? answer.slice(0, -ending.length).trimEnd() : answer;
