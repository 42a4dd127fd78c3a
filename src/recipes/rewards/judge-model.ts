import { z } from "zod";
import { UserError } from "../../tensor/index.js";
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
    const { key, parallel } = settings;
    const secret = key === undefined ? undefined : platform.variable?.(key);
    if (key !== undefined && !secret)
      throw new UserError(`${where}: the environment variable ${key}, which is to hold the judge's key, is not set`, {
        code: "invalid_config",
      });
    const judge: Judge = { settings, secret, where };
    return (completions) => inParallel(completions, parallel, (one) => asked(judge, one));
  },
});

interface Judge {
  readonly settings: Settings;
  readonly secret: string | undefined;
  readonly where: string;
}

/** What is wrong with an answer, and whether the same question may be answered better. */
class Fault extends Error {
  readonly lasts: boolean;
  constructor(message: string, { lasts = false } = {}) {
    super(message);
    this.lasts = lasts;
  }
}

/** Asks until there is a number. Throws UserError after the last try. */
async function asked(judge: Judge, completion: Completion): Promise<number> {
  const { settings, where } = judge;
  const question = questionOf(judge, completion);
  for (let tried = 1; ; tried++) {
    try {
      return await answered(judge, question);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      if (error.lasts || tried >= settings.tries)
        throw new UserError(
          `${where}: ${settings.model} at ${settings.url} ${error.message} (${tried === 1 ? "once" : `${tried} times`} asked)`,
          { code: "reward_failed", cause: error },
        );
      await new Promise((resolve) => setTimeout(resolve, Math.min(30, 2 ** (tried - 1)) * 1000));
    }
  }
}

/** One try. Throws Fault. */
async function answered({ settings, secret }: Judge, question: string): Promise<number> {
  const { url, model, max, seconds } = settings;
  const signal = AbortSignal.timeout(seconds * 1000);
  const response = await fetch(`${url.replace(/\/+$/, "")}/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", ...(secret ? { authorization: `Bearer ${secret}` } : {}) },
    body: JSON.stringify({ model, messages: [{ role: "user", content: question }], temperature: 0 }),
    signal,
  }).catch((error: unknown) => {
    if (signal.aborted) throw new Fault(`did not answer within ${seconds} s`);
    throw new Fault(`could not be asked: ${innermost(error)}`);
  });
  const body = await response.text().catch((error: unknown) => {
    throw new Fault(`broke off: ${innermost(error)}`);
  });
  const { status } = response;
  if (!response.ok) {
    const lasts = status >= 400 && status < 500 && status !== 408 && status !== 409 && status !== 429;
    throw new Fault(`answered with status ${status}: ${body.slice(0, 200)}`, { lasts });
  }
  const text = contentOf(body);
  if (text === undefined) throw new Fault(`answered with no message: ${body.slice(0, 200)}`);
  const number = Number(/-?\d+(?:\.\d+)?/.exec(text)?.[0] ?? Number.NaN);
  if (!(number >= 0 && number <= max))
    throw new Fault(`gave no number from 0 to ${max}: ${JSON.stringify(text.slice(0, 200))}`);
  return number / max;
}

const REPLY = z.object({ choices: z.array(z.object({ message: z.object({ content: z.string() }) })).min(1) });

function contentOf(body: string): string | undefined {
  try {
    return REPLY.parse(JSON.parse(body)).choices[0]!.message.content;
  } catch {
    return undefined;
  }
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

function innermost(error: unknown): string {
  const { cause, message } = error as Error;
  return cause instanceof Error ? innermost(cause) : message;
}
