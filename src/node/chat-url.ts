import { setTimeout as wait } from "node:timers/promises";
import type { AskChat } from "../recipes/augment/model-wordings.js";
import { UserError } from "../tensor/index.js";
import { proxiedFetch, viaProxy } from "./hub/proxy.js";

export interface OpenAIChatOptions {
  /** The beginning of an OpenAI-compatible API, `http://127.0.0.1:8000/v1`; or its `/chat/completions`. */
  readonly url: string;
  /** The model, by the name that the API knows it by. */
  readonly model: string;
  /** Default: OPENAI_API_KEY of the environment, and none where it is not set. Sent to the url alone. */
  readonly apiKey?: string;
  /** Default 0.8. */
  readonly temperature?: number;
  /** The most tokens of an answer. Default 512. */
  readonly maxTokens?: number;
}

const TRIES = 3;
const LONGEST_MS = 120_000;
const LARGEST = 2 ** 20;
/** What may be over in a moment: too many requests, and a server that is not there yet. */
const PASSING: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504]);

/**
 * Asks a model behind an OpenAI-compatible URL (POST /chat/completions), for `augment`'s wordings. Proxies of the environment are
 * followed. Throws UserError for what is no address; what is asked throws it when the server cannot be reached, refuses or answers
 * something else.
 */
export function openAIChat({ url, model, apiKey, temperature = 0.8, maxTokens = 512 }: OpenAIChatOptions): AskChat {
  const address = addressOf(url);
  const key = apiKey ?? process.env.OPENAI_API_KEY ?? "";
  const headers = { "content-type": "application/json", ...(key === "" ? {} : { authorization: `Bearer ${key}` }) };
  return async (messages, { seed, signal }) => {
    const body = JSON.stringify({ model, messages, temperature, max_tokens: maxTokens, seed });
    for (let tried = 1; ; tried++) {
      const answer = await asked(address, { method: "POST", headers, body, redirect: "error" }, signal);
      if (typeof answer === "string") return answer;
      if (!answer.passing || tried === TRIES) throw answer.error;
      await wait(1000 * tried, undefined, signal ? { signal } : {});
    }
  };
}

function addressOf(url: string): string {
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
    throw new UserError(`'${url}' is no address of an API, as http://127.0.0.1:8000/v1 is`);
  return /\/chat\/completions\/?$/.test(url) ? url : `${url.replace(/\/+$/, "")}/chat/completions`;
}

type Failure = { readonly error: UserError; readonly passing: boolean };

async function asked(address: string, init: RequestInit, signal: AbortSignal | undefined): Promise<string | Failure> {
  const fail = (what: string, passing: boolean, cause?: unknown): Failure => ({
    error: new UserError(`${address}: ${what}${viaProxy(address)}`, { cause, code: "download_failed" }),
    passing,
  });
  const limit = AbortSignal.timeout(LONGEST_MS);
  const ask = await proxiedFetch();
  try {
    const response = await ask(address, { ...init, signal: signal ? AbortSignal.any([signal, limit]) : limit });
    const text = await textOf(response);
    if (text === undefined) return fail("the answer is longer than a megabyte", false);
    if (!response.ok) return fail(`answered ${response.status}${reasonIn(text)}`, PASSING.has(response.status));
    return contentOf(text) ?? fail("the answer is no chat completion", false);
  } catch (error) {
    if (signal?.aborted) throw error;
    const { message, cause } = error as Error;
    return fail(`cannot be reached: ${(cause as Error | undefined)?.message || message}`, true, error);
  }
}

/** The body; undefined where it is too long. */
async function textOf(response: Response): Promise<string | undefined> {
  const decoder = new TextDecoder();
  let [text, size] = ["", 0];
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > LARGEST) return undefined;
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

function contentOf(text: string): string | undefined {
  const content = parsed(text)?.choices?.[0]?.message?.content;
  return typeof content === "string" ? content : undefined;
}

/** What the server says, where it says it as OpenAI does. */
function reasonIn(text: string): string {
  const message = parsed(text)?.error?.message;
  return typeof message === "string" ? `: ${message.slice(0, 300)}` : "";
}

type Reply = { choices?: { message?: { content?: unknown } }[]; error?: { message?: unknown } };

function parsed(text: string): Reply | undefined {
  try {
    return JSON.parse(text) as Reply;
  } catch {
    return undefined;
  }
}
