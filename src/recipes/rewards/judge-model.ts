import { z } from "zod";
import { UserError } from "../../tensor/index.js";
import { askChat, ChatFault, type ChatModel, chatAddress } from "../chat-client.js";
import { inParallel } from "../suite/answers.js";
import { columnOf } from "./columns.js";
import { type Completion, rewardKind } from "./reward.js";

const QUESTION = `You judge how good an answer is.

[Question]
{prompt}

[Answer]
{completion}

Give a whole number from 0 (useless) to {max} (perfect), and nothing else.`;

const schema = z.strictObject({
  url: z.url({ protocol: /^https?$/ }),
  model: z.string().min(1),
  key: z
    .string()
    .regex(/^[A-Za-z_]\w*$/)
    .optional(),
  question: z.string().min(1).default(QUESTION),
  max: z.number().positive().default(10),
  tries: z.int().min(1).max(20).default(4),
  seconds: z.number().positive().default(60),
  parallel: z.int().min(1).max(64).default(4),
});
type Settings = z.output<typeof schema>;

/** A share of `max` that another model gives, asked over OpenAI's chat completions. */
export const judgeModel = rewardKind<Settings>({
  description:
    "the number that a model gives, by max (10): url (OpenAI's API up to /v1), model, key (the environment variable that holds its key), question with {prompt}, {completion}, {max} and columns in it, tries, seconds for one, parallel",
  schema: schema as z.ZodType<Settings>,
  create: (settings, where, platform) => {
    const { url, key, parallel, tries, seconds } = settings;
    const secret = key === undefined ? undefined : platform.variable?.(key);
    if (key !== undefined && !secret)
      throw new UserError(`${where}: the environment variable ${key}, which is to hold the judge's key, is not set`, {
        code: "invalid_config",
      });
    const ask = platform.fetch ?? fetch;
    const model = { address: chatAddress(url), key: secret, tries, seconds, fetch: ask };
    const judge: Judge = { settings, model, where };
    return (completions) => inParallel(completions, parallel, (one) => asked(judge, one));
  },
});

interface Judge {
  readonly settings: Settings;
  readonly model: ChatModel;
  readonly where: string;
}

/** Asks until there is a number. Throws UserError after the last try. */
async function asked(judge: Judge, completion: Completion): Promise<number> {
  const { url, model, max } = judge.settings;
  const messages = [{ role: "user", content: questionOf(judge, completion) }];
  try {
    return await askChat(judge.model, { model, messages, temperature: 0 }, (text) => numberIn(text, max) / max);
  } catch (error) {
    if (!(error instanceof ChatFault)) throw error;
    throw new UserError(`${judge.where}: ${model} at ${url} ${error.message}`, { code: "reward_failed", cause: error });
  }
}

/** The first number of an answer. Throws ChatFault where there is none from 0 to `max`. */
function numberIn(text: string, max: number): number {
  const number = Number(/-?\d+(?:\.\d+)?/.exec(text)?.[0] ?? Number.NaN);
  if (number >= 0 && number <= max) return number;
  throw new ChatFault(`gave no number from 0 to ${max}: ${JSON.stringify(text.slice(0, 200))}`);
}

/** The question with the names in braces replaced, all at once: what a completion says is never read as a name. */
function questionOf({ settings, where }: Judge, completion: Completion): string {
  const { prompt, text } = completion;
  const asked =
    typeof prompt === "string" ? prompt : prompt.map(({ role, content }) => `${role}: ${content ?? ""}`).join("\n");
  const known: Readonly<Record<string, string>> = { prompt: asked, completion: text, max: String(settings.max) };
  return settings.question.replace(/\{(\w+)\}/g, (_, name: string) => {
    if (Object.hasOwn(known, name)) return known[name]!;
    const value = columnOf(completion, name, where);
    return typeof value === "string" ? value : JSON.stringify(value);
  });
}
