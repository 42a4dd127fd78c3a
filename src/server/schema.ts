import { z } from "zod";
import type { GenerateTextOptions, Prompt } from "../recipes/generate.js";
import { argumentFault } from "../tokenizers/template-arguments.js";
import { flag, number, parseBody, refused, whole, withoutNull } from "./fields.js";
import type { ServerLimits } from "./limits.js";
import { readMessages } from "./messages.js";
import { responseFormat } from "./response-format.js";
import { readTools } from "./tools.js";
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

const most = (limits: ServerLimits) => whole(1).transform((count) => Math.min(count, limits.maxTokens));

const common = (limits: ServerLimits) => ({
  model: z.string("expected the name of a model; GET /v1/models lists them"),
  n: whole(1, limits.answers).default(1),
  stream: flag.default(false),
  stream_options: streamOptions.optional(),
  max_tokens: most(limits).optional(),
  temperature: number(0, 2).default(1),
  top_p: number(0, 1).optional(),
  top_k: whole(-1).optional(),
  min_p: number(0, 1).optional(),
  repetition_penalty: number(0.01, 10).optional(),
  frequency_penalty: number(-2, 2).optional(),
  presence_penalty: number(-2, 2).optional(),
  seed: whole(Number.MIN_SAFE_INTEGER).optional(),
  stop,
  adapter_scale: number(-100, 100).optional(),
  response_format: responseFormat.optional(),
});

const texts = z.array(z.string()).min(1);
const prompt = z
  .unknown()
  .refine((value) => typeof value === "string" || texts.safeParse(value).success, {
    error: "expected a text or a list of texts; token ids are not supported",
  })
  .transform((value) => (typeof value === "string" ? [value] : (value as string[])));

/** As vLLM takes them; a name that the template does not read changes nothing there and here. */
const templateArguments = z
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
    completion: z.strictObject({ ...common(limits), prompt, logprobs: whole(0, 5).optional() }),
  };
}

/** Making schemas takes longer than reading with them. */
const made = new WeakMap<ServerLimits, ReturnType<typeof schemas>>();

function schemasOf(limits: ServerLimits): ReturnType<typeof schemas> {
  let own = made.get(limits);
  if (!own) made.set(limits, (own = schemas(limits)));
  return own;
}

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

/** Fields that `readTools` reads. */
const TOOL_FIELDS = ["tools", "tool_choice", "parallel_tool_calls"];

/** Reads the body of /v1/completions: `prompt` is a text or a list of texts. Throws ApiError as `readChatRequest`. */
export function readCompletionRequest(body: Record<string, unknown>, limits: ServerLimits): Asked {
  const { completion } = schemasOf(limits);
  const { prompt: prompts, logprobs, ...rest } = parseBody(completion, body, UNUSED);
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
      temperature: given.temperature,
      ...nucleus(given),
      minP: given.min_p,
      repetitionPenalty: given.repetition_penalty,
      frequencyPenalty: given.frequency_penalty,
      presencePenalty: given.presence_penalty,
      seed: given.seed,
      stop: given.stop,
      ...(given.response_format ? { responseFormat: given.response_format } : {}),
      ...(logprobs === undefined ? {} : { logprobs }),
    },
  };
}

/** `top_k`: 0 and -1 are all tokens, as in vLLM. `top_p`: 0 leaves the likeliest, as in OpenAI's API. */
function nucleus({ top_k: topK, top_p: topP }: Common): Pick<GenerateTextOptions, "topK" | "topP"> {
  if (topP === 0) return { topK: 1 };
  return { topK: topK === undefined ? undefined : Math.max(0, topK), topP };
}
