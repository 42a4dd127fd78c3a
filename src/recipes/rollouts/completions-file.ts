import { z } from "zod";
import { type Files, join } from "../../formats/files.js";
import { OUTPUT } from "../run-folder.js";

/** An answer as it is kept in the run folder, in the words of TRL's tables of completions. */
const ANSWER = z.object({
  step: z.int(),
  row: z.int(),
  prompt: z.unknown(),
  completion: z.string(),
  ended: z.boolean(),
  completion_ids: z.array(z.int().min(0)).min(1),
});

export type Answer = z.output<typeof ANSWER>;

/** One that was rewarded. */
const LINE = ANSWER.extend({
  /** What each reward says. */
  rewards: z.record(z.string(), z.number().nullable()),
  reward: z.number().nullable(),
  advantage: z.number(),
  /** Log-probabilities of its tokens when it was sampled, where it is learned from more than once. */
  old_logps: z.array(z.number()).optional(),
});

export type CompletionLine = z.output<typeof LINE>;

const LARGEST = 2 ** 30;

/** Names sort as steps do. */
const pathOf = (folder: string, name: string, step: number): string =>
  join(folder, OUTPUT.completions, `${name}_${String(step).padStart(5, "0")}.jsonl`);

/** Writes what a step's completions were and what was made of them, whole or not at all. */
export async function writeCompletions(
  files: Files,
  folder: string,
  name: "completions" | "eval",
  lines: readonly Answer[],
): Promise<void> {
  await files.makeFolder(join(folder, OUTPUT.completions));
  const text = lines.map((line) => `${JSON.stringify(line)}\n`).join("");
  await files.write(pathOf(folder, name, lines[0]!.step), text);
}

/** The completions of a step that an earlier part of the same run kept; undefined where there are none, or they make no sense. */
export async function readCompletions(
  files: Files,
  folder: string,
  step: number,
): Promise<CompletionLine[] | undefined> {
  const path = pathOf(folder, "completions", step);
  if (!(await files.stat(path))) return undefined;
  const text = new TextDecoder().decode(await files.read(path, LARGEST));
  const lines = text.split("\n").filter(Boolean).map(parsed);
  return lines.every((line) => line !== undefined) ? lines : undefined;
}

function parsed(line: string): CompletionLine | undefined {
  try {
    return LINE.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}

/** Forgets the completions of an earlier run in the same folder. */
export const removeCompletions = (files: Files, folder: string): Promise<void> =>
  files.remove(join(folder, OUTPUT.completions));
