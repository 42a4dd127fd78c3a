import { type Files, join } from "../formats/files.js";
import type { Platform } from "../platform/platform.js";
import { UserError } from "../tensor/index.js";
import { hasTemplates } from "../tokenizers/files.js";
import type { TrainConfig } from "./config-schema.js";
import type { SampleAnswers } from "./events.js";
import { generate } from "./generate.js";
import type { LoadedAdapter, LoadedModel } from "./model.js";
import { OUTPUT } from "./run-folder.js";
import { atOnce, inParallel } from "./suite/answers.js";

/** The prompts that a config gives; undefined where it gives none. Throws UserError for a file that cannot be read or is empty. */
export async function readPrompts(
  { samples: { prompts, file } }: TrainConfig,
  { files, resolveData }: Platform,
): Promise<readonly string[] | undefined> {
  if (file === null) return prompts ?? undefined;
  const text = new TextDecoder().decode(await files.read(resolveData(file)));
  const lines = text.split("\n").flatMap((line) => line.trim() || []);
  if (lines.length === 0) throw new UserError(`samples.file: ${file}: expected a prompt a line, and it is empty`);
  return lines;
}

/**
 * Answers prompts greedily, many at the same time: as a user's message where `chat` says so and the base has a chat template,
 * else going on with the text. Without an adapter the base answers.
 */
export function answerPrompts(
  model: LoadedModel,
  prompts: readonly string[],
  {
    adapter,
    maxNewTokens,
    chat,
  }: { readonly adapter?: LoadedAdapter; readonly maxNewTokens: number; readonly chat: boolean },
): Promise<string[]> {
  const isChat = chat && hasTemplates(model.open.tokenizer);
  const settings = { maxNewTokens, ...(adapter ? { adapter } : {}) };
  return inParallel(prompts, atOnce(model), async (prompt) => {
    const input = isChat ? { messages: [{ role: "user", content: prompt }] } : { prompt };
    return (await generate(model, input, settings).result()).text;
  });
}

/** The samples of a run that goes on after `step`, as they are on the disk; `add` takes those of an evaluation. */
export async function openSamples({ files, append }: Platform, folder: string, step: number) {
  const path = join(folder, OUTPUT.samples);
  const kept = step > 0 ? (await linesUpTo(files, path, step)).map((line) => `${line}\n`) : [];
  if (kept.length > 0) await files.write(path, kept.join(""));
  else await files.remove(path);
  return {
    add: (at: number, samples: readonly SampleAnswers[]) =>
      append(path, samples.map((sample) => `${JSON.stringify({ step: at, ...sample })}\n`).join("")),
  };
}

/** Lines of evaluations up to a step; one that was cut off by a kill is none. */
async function linesUpTo(files: Files, path: string, step: number): Promise<string[]> {
  if (!(await files.stat(path))) return [];
  const text = new TextDecoder().decode(await files.read(path, 2 ** 30));
  return text.split("\n").filter((line) => {
    try {
      return (JSON.parse(line) as { step: number }).step <= step;
    } catch {
      return false;
    }
  });
}
