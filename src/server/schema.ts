import { z } from "zod";
import type { GenerateTextOptions, Prompt } from "../recipes/generate.js";
import { nearest } from "../tensor/index.js";
import type { Message } from "../tokenizers/chat-template.js";
import { ApiError } from "./errors.js";
import type { ServerLimits } from "./limits.js";

/** What a request for text asks for, whichever endpoint it came to. */
export interface Asked {
  readonly model: string;
  readonly prompts: readonly Prompt[];
  /** Answers for each prompt. */
  readonly n: number;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  readonly adapterScale: number | undefined;
  readonly options: GenerateTextOptions & { readonly maxNewTokens: number };
}

type Neutral = Readonly<Record<string, (value: unknown) => boolean>>;

/** Fields of OpenAI's reference that this server has no use for, with the values that ask for nothing. */
const NEUTRAL: Neutral = {
  best_of: (v) => v === 1,
  echo: (v) => v === false,
  function_call: (v) => v === "none",
  functions: isEmpty,
  logit_bias: isEmpty,
  logprobs: (v) => v === false,
  parallel_tool_calls: (v) => typeof v === "boolean",
  service_tier: (v) => v === "auto" || v === "default",
  store: (v) => v === false,
  suffix: (v) => v === "",
  tool_choice: (v) => v === "none" || v === "auto",
  tools: isEmpty,
  top_logprobs: (v) => v === 0,
  user: (v) => typeof v === "string",
};

const text = z.union([
  z.string(),
  z
    .array(z.strictObject({ type: z.literal("text"), text: z.string() }))
    .transform((list) => list.map((p) => p.text).join("\n")),
]);

const message = z
  .strictObject({
    role: z.enum(["system", "developer", "user", "assistant"]),
    content: text,
    name: z.string().optional(),
    refusal: z.null().optional(),
  })
  .transform(({ role, refusal: _, ...rest }): Message => ({ role: role === "developer" ? "system" : role, ...rest }));

/** `{"type": "text"}` or `{"type": "json_object"}`; true for the latter. */
const jsonWanted = z
  .looseObject({ type: z.string() })
  .refine(({ type }) => type === "text" || type === "json_object", {
    error: ({ input }) =>
      `the type '${String((input as { type: unknown }).type).slice(0, 100)}' is not supported; 'json_object' and 'text' are`,
  })
  .transform(({ type }) => type === "json_object");

const stop = z.string().min(1).max(256);
const common = (limits: ServerLimits) => ({
  model: z.string(),
  n: z.int().min(1).max(limits.answers).default(1),
  stream: z.boolean().default(false),
  stream_options: z.strictObject({ include_usage: z.boolean().default(false) }).optional(),
  max_tokens: z.int().min(1).max(limits.maxTokens).optional(),
  temperature: z.number().min(0).max(2).default(1),
  top_p: z.number().gt(0).max(1).optional(),
  top_k: z.int().min(0).optional(),
  min_p: z.number().min(0).max(1).optional(),
  repetition_penalty: z.number().min(0.01).max(10).optional(),
  frequency_penalty: z.number().min(-2).max(2).optional(),
  presence_penalty: z.number().min(-2).max(2).optional(),
  seed: z.int().optional(),
  stop: z.union([stop.transform((one) => [one]), z.array(stop).max(4)]).optional(),
  adapter_scale: z.number().min(-100).max(100).optional(),
  response_format: jsonWanted.optional(),
});

/** Reads the body of /v1/chat/completions. Throws ApiError naming the field that is wrong or not supported. */
export function readChatRequest(body: Record<string, unknown>, limits: ServerLimits): Asked {
  const schema = z.strictObject({
    ...common(limits),
    max_completion_tokens: z.int().min(1).max(limits.maxTokens).optional(),
    messages: z.array(message).min(1),
    logprobs: z.boolean().optional(),
    top_logprobs: z.int().min(0).max(20).optional(),
  });
  const { messages, max_completion_tokens, logprobs = false, top_logprobs, ...rest } = parseBody(schema, body);
  if (top_logprobs !== undefined && !logprobs) {
    throw new ApiError(400, "top_logprobs: only with logprobs: true", { param: "top_logprobs" });
  }
  if (max_completion_tokens !== undefined && rest.max_tokens !== undefined) {
    throw new ApiError(400, "give one of max_tokens and max_completion_tokens", { param: "max_tokens" });
  }
  const given = { ...rest, max_tokens: rest.max_tokens ?? max_completion_tokens };
  return asked(given, [{ messages }], limits, logprobs ? (top_logprobs ?? 0) : undefined);
}

/** Reads the body of /v1/completions: `prompt` is a text or a list of texts. Throws ApiError as `readChatRequest`. */
export function readCompletionRequest(body: Record<string, unknown>, limits: ServerLimits): Asked {
  const prompt = z.union([z.string().transform((one) => [one]), z.array(z.string()).min(1)], {
    error: "expected a text or a list of texts; token ids are not supported",
  });
  const schema = z.strictObject({ ...common(limits), prompt, logprobs: z.int().min(0).max(5).optional() });
  const { prompt: prompts, logprobs, ...rest } = parseBody(schema, body);
  return asked(
    rest,
    prompts.map((one) => ({ prompt: one })),
    limits,
    logprobs,
  );
}

type Common = z.output<z.ZodObject<ReturnType<typeof common>>>;

function asked(given: Common, prompts: readonly Prompt[], limits: ServerLimits, logprobs: number | undefined): Asked {
  if (given.n * prompts.length > limits.answers) {
    throw new ApiError(400, `n: at most ${limits.answers} answers a request`, { param: "n" });
  }
  if (given.stream_options && !given.stream) {
    throw new ApiError(400, "stream_options: only with stream: true", { param: "stream_options" });
  }
  return {
    model: given.model,
    prompts,
    n: given.n,
    stream: given.stream,
    includeUsage: given.stream_options?.include_usage ?? false,
    adapterScale: given.adapter_scale,
    options: {
      maxNewTokens: given.max_tokens ?? limits.maxTokens,
      temperature: given.temperature,
      topP: given.top_p,
      topK: given.top_k,
      minP: given.min_p,
      repetitionPenalty: given.repetition_penalty,
      frequencyPenalty: given.frequency_penalty,
      presencePenalty: given.presence_penalty,
      seed: given.seed,
      stop: given.stop,
      ...(given.response_format ? { json: true } : {}),
      ...(logprobs === undefined ? {} : { logprobs }),
    },
  };
}

/**
 * A body's fields, of which null and what is neutral count as not given. Throws ApiError naming the field that is wrong, not
 * supported or not known.
 */
export function parseBody<T extends z.ZodObject>(
  schema: T,
  body: Record<string, unknown>,
  neutral: Neutral = NEUTRAL,
): z.output<T> {
  const wanted = Object.entries(body).filter(([key, value]) => {
    if (value === null) return false;
    return !(Object.hasOwn(neutral, key) && neutral[key]!(value));
  });
  for (const [key] of wanted) {
    if (Object.hasOwn(schema.shape, key)) continue;
    if (Object.hasOwn(neutral, key)) throw refused(key, `${key}: this value is not supported by this server`);
    const hint = nearest(key, Object.keys(schema.shape));
    throw refused(key, `'${key.slice(0, 100)}' is not supported${hint ? `; did you mean '${hint}'?` : ""}`);
  }
  const result = schema.safeParse(Object.fromEntries(wanted));
  if (result.success) return result.data;
  const { path, message: why } = result.error.issues[0]!;
  throw refused(path.join("."), `${path.join(".")}: ${why}`);
}

const refused = (param: string, why: string) => new ApiError(400, why, { param: param.slice(0, 100) });

function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}
