import { openFields } from "../data/fields.js";
import { readSource } from "../data/sources/index.js";
import {
  type Generated,
  type GenerateTextOptions,
  generate as generateText,
  type Prompt,
} from "../recipes/generate.js";
import type { LoadedModel } from "../recipes/model.js";
import { UserError } from "../tensor/errors.js";
import { bytesOf, readConversation, readJsonFile } from "./conversation.js";
import { type Action, EXIT, exactOut, type Io, type Options } from "./io.js";
import { samplingOptions, withModel, withWarnings } from "./model-options.js";
import { interruptibleAlone, overRanks } from "./over-ranks.js";
import { inert } from "./preview-text.js";
import { usageError } from "./usage.js";

export const generate: Action = async (_args, options, io) => {
  const given = ["prompt", "messages", "input"].filter((name) => options[name] !== undefined);
  if (given.length !== 1) throw usageError("give one of --prompt TEXT, --messages FILE and --input FILE");
  const sampling = samplingOptions(options);
  return overRanks(options, io, (own, world) => {
    const use = (model: LoadedModel) => answers(model, { options, sampling, io: own, ...interruptibleAlone(world) });
    return withModel(options, own, use, world);
  });
};

interface Asking extends ReturnType<typeof interruptibleAlone> {
  readonly options: Options;
  readonly sampling: GenerateTextOptions;
  readonly io: Io;
}

async function answers(model: LoadedModel, { options, sampling, io, signal, stop }: Asking): Promise<number> {
  try {
    const adapter = options.adapter ? await withWarnings(model, options.adapter as string, io) : undefined;
    const settings = { ...sampling, ...(adapter ? { adapter } : {}), signal };
    for await (const { prompt, where } of prompts(options, io)) {
      await at(where, () => answer(model, prompt, settings, options, io));
      if (signal.aborted) return EXIT.interrupted;
    }
    return EXIT.ok;
  } finally {
    stop();
  }
}

/** A prompt and, where it is a row of a file, its place there. */
interface Asked {
  readonly prompt: Prompt;
  readonly where?: string;
}

async function* prompts(options: Options, io: Io): AsyncGenerator<Asked> {
  if (options.prompt !== undefined) yield { prompt: { prompt: options.prompt as string } };
  else if (options.messages) {
    const path = options.messages as string;
    yield { prompt: readConversation(await readJsonFile(path), path, unusedNames(path, io)) };
  } else yield* rowPrompts(options.input as string, io);
}

async function* rowPrompts(path: string, io: Io): AsyncGenerator<Asked> {
  const unused = unusedNames(path, io);
  for await (const row of readSource(bytesOf(path), path)) {
    const where = `${path}:${row.line}`;
    if (!row.value) throw new UserError(`${where}: ${row.error}`);
    const fields = openFields(row.value);
    const prompt = fields.value("prompt");
    if (typeof prompt === "string") {
      for (const [name] of fields.unused()) unused(name);
      yield { prompt: { prompt }, where };
    } else if (Object.hasOwn(row.value, "messages")) {
      yield { prompt: readConversation(row.value, where, unused), where };
    } else throw new UserError(`${where}: a row needs prompt (text) or messages`);
  }
}

/** Says once of each field that nothing reads it. */
function unusedNames(path: string, io: Io): (name: string) => void {
  const named = new Set<string>();
  return (name) => {
    if (named.has(name)) return;
    named.add(name);
    io.err(`lowrank: ${inert(`${path}: ${name}: nothing reads this field`)}\n`);
  };
}

/** Does the work; what the user can mend says which row it is about. */
async function at(where: string | undefined, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (where === undefined || !(error instanceof UserError)) throw error;
    throw new UserError(`${where}: ${error.message}`, { cause: error });
  }
}

/** Without --json, text is written as it comes. */
async function answer(
  model: LoadedModel,
  prompt: Prompt,
  settings: GenerateTextOptions,
  options: Options,
  io: Io,
): Promise<void> {
  const run = generateText(model, prompt, settings);
  if (options.json) return io.out(`${JSON.stringify(generatedJson(await run.result()))}\n`);
  const out = exactOut(io);
  for await (const piece of run) out(piece);
  out("\n");
}

function generatedJson({ promptIds, tokenIds, text, finishReason }: Generated): Record<string, unknown> {
  return { prompt_ids: promptIds, token_ids: tokenIds, text, finish_reason: finishReason };
}
