import type { JsonObject } from "../data/fields.js";
import { join } from "../formats/files.js";
import { markFolder } from "../formats/own-folder.js";
import type { Platform } from "../platform/platform.js";
import { UserError } from "../tensor/index.js";
import { random } from "../tensor/random.js";
import { hasTemplates } from "../tokenizers/files.js";
import { rowLines } from "./augment/augment.js";
import { onBase } from "./base-model.js";
import type { TrainConfig } from "./config-schema.js";
import { note, type TrainEvent } from "./events.js";
import { type EncodedPrompt, generate } from "./generate.js";
import { type LoadedModel, stopIds } from "./model.js";
import { OUTPUT } from "./run-folder.js";
import { atOnce, inParallel } from "./suite/answers.js";

interface Context {
  /** The texts that an earlier part of the run wrote are taken as they are. */
  readonly resume: boolean;
  readonly model: LoadedModel | undefined;
  readonly signal: AbortSignal | undefined;
}

/** Tokens of a question and of what follows. */
const LONGEST = { question: 32, text: 64 };

/**
 * Has the base write the texts that `objective.keep.generate` asks for, in the run's folder, and gives the config that keeps
 * the model as it was on them. Without it the config is as it was. Throws UserError for a base that writes nothing.
 */
export async function* withKeptTexts(
  config: TrainConfig,
  platform: Platform,
  { resume, model, signal }: Context,
): AsyncGenerator<TrainEvent, TrainConfig> {
  const { generate: count, plain, ...keep } = config.objective.keep;
  if (count === null) return config;
  const { files } = platform;
  const [chats, texts] = [OUTPUT.kept, OUTPUT.keptTexts].map((name) => join(config.outputDir, name)) as [
    string,
    string,
  ];
  if (!(resume && (await files.stat(chats)))) {
    yield note(`objective.keep: the base writes ${count} texts (${chats})`);
    const rows = await onBase(config, platform, model, (base) =>
      writeTexts(base, { count, plain }, config.seed, signal),
    );
    const [first, others] = rows.some(isChat) ? [rows.filter(isChat), rows.filter((row) => !isChat(row))] : [rows, []];
    await markFolder(files, config.outputDir, "run");
    await files.remove(texts);
    if (others.length > 0) await files.write(texts, rowLines(others));
    await files.write(chats, rowLines(first));
  }
  const written = (await files.stat(texts)) ? [chats, texts] : [chats];
  const data = [keep.data ?? [], written].flat();
  return { ...config, objective: { ...config.objective, keep: { ...keep, data, generate: null, plain: false } } };
}

const isChat = (row: JsonObject): boolean => "messages" in row;

/**
 * Texts drawn from the base's own distribution: conversations where it has a chat template, of which every second, or with `plain` each, is
 * kept as its answer alone, without the template; else plain texts.
 */
async function writeTexts(
  model: LoadedModel,
  { count, plain }: { readonly count: number; readonly plain: boolean },
  seed: number,
  signal: AbortSignal | undefined,
): Promise<JsonObject[]> {
  const start = await startOf(model);
  const said = async (prompt: Parameters<typeof generate>[1], maxNewTokens: number, ...labels: (string | number)[]) => {
    signal?.throwIfAborted();
    const drawn = random(seed, "kept texts", ...labels).int32() >>> 0;
    const options = { maxNewTokens, temperature: 1, seed: drawn, ...(signal ? { signal } : {}) };
    return (await generate(model, prompt, options).result()).text.trim();
  };
  const write = async (i: number): Promise<JsonObject[]> => {
    if (!start.chat) {
      const text = await said(start, LONGEST.text, i);
      return text === "" ? [] : [{ text }];
    }
    const user = { role: "user", content: await said(start, LONGEST.question, i, "question") };
    if (user.content === "") return [];
    const content = await said({ messages: [user] }, LONGEST.text, i, "answer");
    if (content === "") return [];
    return [plain || i % 2 === 1 ? { text: content } : { messages: [user, { role: "assistant", content }] }];
  };
  const numbers = Array.from({ length: count }, (_, i) => i);
  const rows = (await inParallel(numbers, atOnce(model), write)).flat();
  signal?.throwIfAborted();
  if (rows.length > 0) return rows;
  throw new UserError(`objective.keep.generate: ${model.name} wrote nothing; give texts as objective.keep.data`);
}

/** What stands before a user's first words, which the base goes on with as a user would; without a chat template, a text's beginning. */
async function startOf(model: LoadedModel): Promise<EncodedPrompt & { readonly chat: boolean }> {
  const { tokenizer } = model;
  if (hasTemplates(model.open.tokenizer)) {
    const chat = model.chat();
    const text = await chat.render([{ role: "user", content: WORDS }], { addGenerationPrompt: false });
    const at = text.indexOf(WORDS);
    const ids = tokenizer.encode(text.slice(0, Math.max(0, at)), { addSpecialTokens: false });
    if (ids.length > 0) return { promptIds: ids, stops: await stopIds(model, chat), continues: false, chat: true };
  }
  const first = tokenizer.bosId ?? tokenizer.eosId;
  if (first === undefined)
    throw new UserError(
      `objective.keep.generate: ${model.name} has no token that begins a text; give texts as objective.keep.data`,
    );
  return { promptIds: [first], stops: await stopIds(model, undefined), continues: false, chat: false };
}

/** A user's words, to be found in what a chat template makes of them. */
const WORDS = "words-of-the-user";
