import { readRows } from "../../data/sources/jsonl.js";
import { join } from "../../formats/files.js";
import { type Platform, readChunks } from "../../platform/platform.js";
import { UserError } from "../../tensor/index.js";
import { readConfig } from "../config.js";
import type { TrainConfig } from "../config-schema.js";
import { asRun, type Run, type TrainEvent } from "../events.js";
import { generate } from "../generate.js";
import { comparison, endsWith, type Habits, judge, normalise, type Question, type Scores } from "../judge.js";
import { loraFinetune } from "../lora-finetune.js";
import { applyAdapter, loadModel } from "../model.js";
import { OUTPUT, refuseForeignRunFolder } from "../run-folder.js";
import { UNWANTED_HABIT, WANTED_HABIT } from "./world.js";

/** The questions of the table; none of them is in the training rows. */
const DEMO_QUESTIONS = "models/tiny/data/questions.jsonl";

const MAX_NEW_TOKENS = 32;

const HABITS: Habits = {
  unwanted: (answer) => normalise(answer).includes(normalise(UNWANTED_HABIT)),
  wanted: (answer) => endsWith(answer, WANTED_HABIT),
};

export type DemoEvent =
  | { readonly type: "asking"; readonly tuned: boolean; readonly done: number; readonly total: number }
  | TrainEvent;

/** One held-out question, as the base and as the tuned model answered it. */
export interface DemoExample {
  readonly kind: Question["kind"];
  readonly question: string;
  readonly before: string;
  readonly after: string;
}

export interface DemoResult {
  readonly before: Scores;
  readonly after: Scores;
  /** What was measured, before, after. */
  readonly rows: readonly (readonly [string, string, string])[];
  /** The first question of each kind. */
  readonly examples: readonly DemoExample[];
  readonly adapter: string;
}

/**
 * The first minute: asks the base the held-out questions, fine-tunes it as `config` says, asks again, and compares. Whatever
 * is in `config.outputDir` from an earlier demonstration is replaced. Throws what `loadModel` and `loraFinetune` throw, and
 * UserError when the folder holds anything else.
 */
export function demo(
  config: TrainConfig,
  platform: Platform,
  options: { readonly signal?: AbortSignal } = {},
): Run<DemoEvent, DemoResult | undefined> {
  return asRun(program(config, platform, options));
}

/** Throws UserError unless the output folder is free, or holds a run on the demonstration's rows. */
async function refuseOtherRuns(platform: Platform, { outputDir, data }: TrainConfig): Promise<void> {
  const { files } = platform;
  await refuseForeignRunFolder(platform, outputDir);
  const path = join(outputDir, OUTPUT.config);
  if (!(await files.stat(path))) return;
  const earlier = readConfig(new TextDecoder().decode(await files.read(path))).config;
  if (earlier?.data.train === data.train) return;
  throw new UserError(
    `output_dir: '${outputDir}' holds another run, which the demonstration would replace; choose another folder`,
  );
}

async function* program(
  config: TrainConfig,
  platform: Platform,
  { signal }: { readonly signal?: AbortSignal },
): AsyncGenerator<DemoEvent, DemoResult | undefined> {
  await refuseOtherRuns(platform, config);
  const questions = await readQuestions(platform);
  const before = yield* ask(config, platform, questions);

  for (const name of Object.values(OUTPUT)) await platform.files.remove(join(config.outputDir, name));
  const run = loraFinetune(config, platform, signal ? { signal } : {});
  for await (const event of run) yield event;
  const { adapter } = await run.result();
  if (!adapter) return undefined;

  const after = yield* ask(config, platform, questions, adapter);
  const scores = { before: judge(questions, before, HABITS), after: judge(questions, after, HABITS) };
  const names = { unwanted: `"${UNWANTED_HABIT.replace(/^\W+/, "")}"`, wanted: `"${WANTED_HABIT}"` };
  const examples = (["private", "unknown", "known"] as const).map((kind) => {
    const i = questions.findIndex((question) => question.kind === kind);
    return { kind, question: questions[i]!.messages[0]!.content, before: before[i]!, after: after[i]! };
  });
  return { ...scores, rows: comparison(scores.before, scores.after, names), examples, adapter };
}

async function readQuestions(platform: Platform): Promise<Question[]> {
  const path = platform.resolveData(DEMO_QUESTIONS);
  const questions: Question[] = [];
  for await (const { value } of readRows(readChunks(platform.files, path), path)) {
    questions.push(value as unknown as Question);
  }
  return questions;
}

/** Answers every question greedily. */
async function* ask(
  { base, device, threads }: TrainConfig,
  platform: Platform,
  questions: readonly Question[],
  adapterPath?: string,
): AsyncGenerator<DemoEvent, string[]> {
  const model = await loadModel(base, platform, { device, threads });
  try {
    const adapter = adapterPath ? await applyAdapter(model, adapterPath) : undefined;
    const answers: string[] = [];
    for (const { messages } of questions) {
      const settings = { maxNewTokens: MAX_NEW_TOKENS, ...(adapter ? { adapter } : {}) };
      answers.push((await generate(model, { messages }, settings).result()).text);
      yield { type: "asking", tuned: adapter !== undefined, done: answers.length, total: questions.length };
    }
    return answers;
  } finally {
    await model.dispose();
  }
}
