import { z } from "zod";
import type { GenerateTextOptions, Prompt } from "../recipes/generate.js";
import { argumentFault } from "../tokenizers/template-arguments.js";
import { flag, number, parseBody, refused, whole, withoutNull } from "./fields.js";
import type { ServerLimits } from "./limits.js";
import { readMessages } from "./messages.js";
import { responseFormat } from "./response-format.js";
import { readTools, TOOL_FIELDS } from "./tools.js";
import { UNUSED } from "./unused.js";

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

const streamOptions = z.preprocess(
  withoutNull,
  z.strictObject(
    {
      include_usage: flag.default(false),
      include_obfuscation: z.literal(false, "only false is supported: pieces are sent as they are").optional(),
      continuous_usage_stats: z.literal(false, "only false is supported: usage comes at the end").optional(),
    },
    "expected an object",
  ),
);

/** Up to four texts; an empty one stops nothing. */
const stop = z
  .unknown()
  .transform((value, context) => {
    const list = Array.isArray(value) ? value : [value];
    const why = stopFault(list);
    if (why !== undefined) context.addIssue({ code: "custom", message: why });
    return list.filter((one) => one !== "") as string[];
  })
  .optional();

const MOST_STOPS = 4;
const LONGEST_STOP = 256;

function stopFault(list: readonly unknown[]): string | undefined {
  if (list.length > MOST_STOPS) return `at most four texts`;
  const bad = list.find((one) => typeof one !== "string" || one.length > LONGEST_STOP);
  return bad === undefined
    ? undefined
    : `expected a text, or a list of at most four, of up to ${LONGEST_STOP} characters`;
}

/** What is added to the logits of tokens, by their ids. */
const logitBias = z
  .record(
    z.string().regex(/^\d{1,9}$/, "expected a token id"),
    number(-100, 100),
    "expected an object of numbers by token ids",
  )
  .transform((given) => new Map(Object.entries(given).map(([id, bias]) => [Number(id), bias])));

/** Tokens of an answer; more than the server grants is what it grants. */
export const most = (limits: ServerLimits, least = 1) =>
  whole(least).transform((count) => Math.min(count, limits.maxTokens));

/** What every request for text may say. */
export const sampling = {
  model: z.string("expected the name of a model; GET /v1/models lists them"),
  stream: flag.default(false),
  temperature: number(0, 2).default(1),
  top_p: number(0, 1).optional(),
  top_k: whole(-1).optional(),
  min_p: number(0, 1).optional(),
  repetition_penalty: number(0.01, 10).optional(),
  frequency_penalty: number(-2, 2).optional(),
  presence_penalty: number(-2, 2).optional(),
  seed: whole(Number.MIN_SAFE_INTEGER).optional(),
  stop,
  logit_bias: logitBias.optional(),
  adapter_scale: number(-100, 100).optional(),
};

const common = (limits: ServerLimits) => ({
  ...sampling,
  n: whole(1, limits.answers).default(1),
  stream_options: streamOptions.optional(),
  max_tokens: most(limits).optional(),
  response_format: responseFormat.optional(),
});

const EXPECTED = "expected a text, a list of texts, a list of token ids, or a list of such lists";
const ids = z.array(z.int().min(0)).min(1, EXPECTED);
const PROMPTS = [
  z.string().transform((one) => [one]),
  z.array(z.string()).min(1, EXPECTED),
  ids.transform((one) => [one]),
  z.array(ids).min(1, EXPECTED),
];

/** A text, its token ids, or a list of either. */
export const prompts = z
  .union(PROMPTS, EXPECTED)
  .transform((list): Prompt[] => list.map((one) => (typeof one === "string" ? { prompt: one } : { tokenIds: one })));

/** As vLLM takes them; a name that the template does not read changes nothing there and here. */
export const templateArguments = z
  .record(z.string(), z.unknown(), "expected an object of the template's arguments by name")
  .superRefine((given, context) => {
    for (const name of Object.keys(given)) {
      const fault = argumentFault(name);
      if (fault) context.addIssue({ code: "custom", message: `'${name.slice(0, 100)}' ${fault}` });
    }
  });

function schemas(limits: ServerLimits) {
  return {
    chat: z.strictObject({
      ...common(limits),
      max_completion_tokens: most(limits).optional(),
      chat_template_kwargs: templateArguments.optional(),
      logprobs: flag.optional(),
      top_logprobs: whole(0, 20).optional(),
    }),
    completion: z.strictObject({
      ...common(limits),
      max_tokens: most(limits, 0).optional(),
      prompt: prompts,
      echo: flag.default(false),
      logprobs: whole(0, 5).optional(),
    }),
  };
}

/** Making schemas takes longer than reading with them. */
const made = new WeakMap<ServerLimits, ReturnType<typeof schemas>>();

function schemasOf(limits: ServerLimits): ReturnType<typeof schemas> {
  let own = made.get(limits);
  if (!own) made.set(limits, (own = schemas(limits)));
  return own;
}

const messageShape = z.looseObject({ role: z.string(), content: z.unknown().optional() });

/** What `readTools` reads, as it is documented. */
export const toolShapes = {
  tools: z.array(z.looseObject({ type: z.string() })).optional(),
  tool_choice: z.union([z.string(), z.looseObject({ type: z.string() })]).optional(),
  parallel_tool_calls: flag.optional(),
};

/** The bodies as they are documented; what is accepted because it asks for nothing is not in them. */
export const chatBody = (limits: ServerLimits) =>
  schemasOf(limits).chat.extend({
    messages: z.array(messageShape).min(1).max(limits.messages),
    ...toolShapes,
  });
export const completionBody = (limits: ServerLimits) => schemasOf(limits).completion;

/** Reads the body of /v1/chat/completions. Throws ApiError naming the field that is wrong or not supported. */
export function readChatRequest(body: Record<string, unknown>, limits: ServerLimits): Asked {
  const { messages: list, ...fields } = body;
  const tools = readTools(body);
  for (const name of TOOL_FIELDS) delete fields[name];
  const { chat } = schemasOf(limits);
  const { max_completion_tokens, chat_template_kwargs, logprobs, top_logprobs, ...rest } = parseBody(
    chat,
    fields,
    UNUSED,
  );
  const messages = readMessages(list, limits.messages);
  if (top_logprobs !== undefined && !logprobs) {
    throw refused("top_logprobs", "only with logprobs: true", "invalid_value");
  }
  const given = { ...rest, max_tokens: max_completion_tokens ?? rest.max_tokens };
  const prompt = {
    messages,
    ...(tools ? { tools: tools.shown } : {}),
    ...(chat_template_kwargs ? { chatTemplateKwargs: chat_template_kwargs } : {}),
  };
  const read = asked(given, [prompt], limits, logprobs ? (top_logprobs ?? 0) : undefined);
  return tools ? { ...read, options: { ...read.options, toolCalling: tools.calling } } : read;
}

/** Reads the body of /v1/completions. Throws ApiError as `readChatRequest`. */
export function readCompletionRequest(body: Record<string, unknown>, limits: ServerLimits): Asked {
  const { completion } = schemasOf(limits);
  const { prompt, logprobs, echo, ...rest } = parseBody(completion, body, UNUSED);
  if (rest.max_tokens === 0 && !echo) throw refused("max_tokens", "0 only with echo: true", "invalid_value");
  const given = asked(rest, prompt, limits, logprobs);
  return { ...given, options: { ...given.options, ...(echo ? { echo } : {}) } };
}

type Common = z.output<z.ZodObject<ReturnType<typeof common>>>;
type Sampling = z.output<z.ZodObject<typeof sampling>>;

function asked(given: Common, prompts: readonly Prompt[], limits: ServerLimits, logprobs: number | undefined): Asked {
  if (given.n * prompts.length > limits.answers) {
    throw refused("n", `at most ${limits.answers} answers a request`, "invalid_value");
  }
  if (given.stream_options?.include_usage && !given.stream) {
    throw refused("stream_options", "only with stream: true", "invalid_value");
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
      ...samplingOptions(given),
      ...(given.response_format ? { responseFormat: given.response_format } : {}),
      ...(logprobs === undefined ? {} : { logprobs }),
    },
  };
}

/** How tokens are chosen, as the recipe calls it. */
export function samplingOptions(given: Sampling): GenerateTextOptions {
  return {
    temperature: given.temperature,
    ...nucleus(given),
    minP: given.min_p,
    repetitionPenalty: given.repetition_penalty,
    frequencyPenalty: given.frequency_penalty,
    presencePenalty: given.presence_penalty,
    ...(given.logit_bias ? { logitBias: given.logit_bias } : {}),
    seed: given.seed,
    stop: given.stop,
  };
}

/** `top_k`: 0 and -1 are all tokens, as in vLLM. `top_p`: 0 leaves the likeliest, as in OpenAI's API. */
function nucleus({ top_k: topK, top_p: topP }: Sampling): Pick<GenerateTextOptions, "topK" | "topP"> {
  if (topP === 0) return { topK: 1 };
  return { topK: topK === undefined ? undefined : Math.max(0, topK), topP };
}
