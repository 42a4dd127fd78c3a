import { z } from "zod";
import { UserError } from "../tensor/index.js";

/** A model behind OpenAI's chat completions, and how patiently it is asked. */
export interface ChatModel {
  /** As of `chatAddress`. */
  readonly address: string;
  /** Sent to the address alone. Default: none is. */
  readonly key?: string | undefined;
  /** How often the same is asked, at most. */
  readonly tries: number;
  /** What an answer may take. */
  readonly seconds: number;
  readonly fetch: typeof fetch;
}

/** Why there is no answer, as what a sentence says of the model: "did not answer within 60 s". */
export class ChatFault extends Error {
  /** Asked again it would say the same. */
  readonly lasts: boolean;
  constructor(message: string, { lasts = false, cause }: { lasts?: boolean; cause?: unknown } = {}) {
    super(message, { cause });
    this.lasts = lasts;
  }
}

const LARGEST = 2 ** 20;
const REPLY = z.object({ choices: z.array(z.object({ message: z.object({ content: z.string() }) })).min(1) });
const REFUSAL = z.object({ error: z.object({ message: z.string() }) });

/**
 * Where chat completions are asked for: `url` is the beginning of an API, `http://127.0.0.1:8000/v1`, or that address itself. Throws
 * UserError for what is no address.
 */
export function chatAddress(url: string): string {
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
    throw new UserError(`'${url}' is no address of an API, as http://127.0.0.1:8000/v1 is`);
  return /\/chat\/completions\/?$/.test(url) ? url : `${url.replace(/\/+$/, "")}/chat/completions`;
}

/**
 * What `read` makes of the model's answer to a request. Where it cannot be had, or `read` throws ChatFault, the model is asked again after
 * 1, 2, 4 ... 30 seconds. Throws ChatFault after the last try, and what the signal was aborted with.
 */
export async function askChat<T>(
  model: ChatModel,
  request: object,
  read: (text: string) => T,
  signal?: AbortSignal,
): Promise<T> {
  for (let tried = 1; ; tried++) {
    try {
      return read(await answered(model, request, signal));
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof ChatFault)) throw error;
      const times = tried === 1 ? "once" : `${tried} times`;
      if (error.lasts || tried >= model.tries)
        throw new ChatFault(`${error.message} (${times} asked)`, { lasts: true, cause: error });
      await pause(Math.min(30, 2 ** (tried - 1)) * 1000, signal);
    }
  }
}

/** One try. Throws ChatFault. */
async function answered({ address, key, seconds, ...model }: ChatModel, request: object, signal?: AbortSignal) {
  const limit = AbortSignal.timeout(seconds * 1000);
  const init: RequestInit = {
    method: "POST",
    headers: { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) },
    body: JSON.stringify(request),
    redirect: "error",
    signal: signal ? AbortSignal.any([signal, limit]) : limit,
  };
  const late = (what: string) => (error: unknown) => {
    const why = limit.aborted ? `did not answer within ${seconds} s` : `${what}: ${innermost(error)}`;
    throw new ChatFault(why, { cause: error });
  };
  const response = await model.fetch(address, init).catch(late("could not be asked"));
  const body = await bodyOf(response).catch(late("broke off"));
  if (body === undefined) throw new ChatFault("answered with more than a megabyte", { lasts: true });
  const { status } = response;
  const mayPass = status >= 500 || [408, 409, 429].includes(status);
  if (!response.ok) throw new ChatFault(`answered ${status}${reasonIn(body)}`, { lasts: !mayPass });
  const reply = REPLY.safeParse(parsed(body)).data;
  if (!reply) throw new ChatFault(`answered with no chat completion: ${body.slice(0, 200)}`);
  return reply.choices[0]!.message.content;
}

/** The body; undefined where it is too long. */
async function bodyOf(response: Response): Promise<string | undefined> {
  const decoder = new TextDecoder();
  let [text, size] = ["", 0];
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > LARGEST) return undefined;
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** What the server says, where it says it as OpenAI does; else the body. */
function reasonIn(body: string): string {
  const reason = (REFUSAL.safeParse(parsed(body)).data?.error.message ?? body).trim();
  return reason === "" ? "" : `: ${reason.slice(0, 300)}`;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function innermost(error: unknown): string {
  const { cause, message } = error as Error;
  return cause instanceof Error ? innermost(cause) : message;
}

/** Waits, or throws what the signal is aborted with. */
function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal!.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", abort, { once: true });
  });
}
