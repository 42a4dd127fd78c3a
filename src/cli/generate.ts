import { readRows } from "../data/jsonl.js";
import { interruptible } from "../node/signals.js";
import {
  type Generated,
  type GenerateTextOptions,
  generate as generateText,
  type Prompt,
} from "../recipes/generate.js";
import type { LoadedModel } from "../recipes/model.js";
import { UserError } from "../tensor/errors.js";
import { bytesOf, checkMessages, readMessages } from "./conversation.js";
import { type Action, EXIT, exactOut, type Io, type Options } from "./io.js";
import { samplingOptions, withModel, withWarnings } from "./model-options.js";
import { usageError } from "./usage.js";

export const generate: Action = async (_args, options, io) => {
  const given = ["prompt", "messages", "input"].filter((name) => options[name] !== undefined);
  if (given.length !== 1) throw usageError("give one of --prompt TEXT, --messages FILE and --input FILE");
  const sampling = samplingOptions(options);
  return withModel(options, io, async (model) => {
    const adapter = options.adapter ? await withWarnings(model, options.adapter as string, io) : undefined;
    const { signal, stop } = interruptible(() => undefined);
    try {
      for await (const prompt of prompts(options)) {
        await answer(model, prompt, { ...sampling, ...(adapter ? { adapter } : {}), signal }, options, io);
        if (signal.aborted) return EXIT.interrupted;
      }
      return EXIT.ok;
    } finally {
      stop();
    }
  });
};

async function* prompts(options: Options): AsyncGenerator<Prompt> {
  if (options.prompt !== undefined) yield { prompt: options.prompt as string };
  else if (options.messages) yield { messages: await readMessages(options.messages as string) };
  else {
    const path = options.input as string;
    for await (const row of readRows(bytesOf(path), path)) {
      const where = `${path}:${row.line}`;
      if (!row.value) throw new UserError(`${where}: ${row.error}`);
      if (typeof row.value.prompt === "string") yield { prompt: row.value.prompt };
      else if (row.value.messages === undefined) throw new UserError(`${where}: a row needs prompt (text) or messages`);
      else yield { messages: checkMessages(row.value.messages, where) };
    }
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
