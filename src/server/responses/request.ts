import { z } from "zod";
import type { Message } from "../../tokenizers/chat-template.js";
import { flag, parseBody, refused, type UnusedFields, whole, withoutNull } from "../fields.js";
import type { ServerLimits } from "../limits.js";
import { textFormat } from "../response-format.js";
import { type Asked, most, sampling, samplingOptions, templateArguments, toolShapes } from "../schema.js";
import { readTools, TOOL_FIELDS } from "../tools.js";
import { UNUSED } from "../unused.js";
import { readItems } from "./items.js";
import { FORGOTTEN, type ResponseStore } from "./store.js";

const LOGPROBS = "message.output_text.logprobs";
/** Asking for them changes nothing: what a model thinks is text here. */
const NEUTRAL_INCLUDES = ["reasoning.encrypted_content"];

const nested = <T extends z.ZodType>(schema: T) => z.preprocess(withoutNull, schema).optional();

const body = (limits: ServerLimits) =>
  z.strictObject({
    ...sampling,
    input: z.union([z.string(), z.array(z.unknown()).min(1)], "expected a text or a list of items"),
    instructions: z.string("expected a text").optional(),
    max_output_tokens: most(limits).optional(),
    previous_response_id: z.string("expected the id of a response").optional(),
    store: flag.default(true),
    metadata: z.record(z.string().max(64), z.string().max(512), "expected texts by names").optional(),
    text: nested(
      z.strictObject(
        { format: textFormat.optional(), verbosity: z.enum(["low", "medium", "high"]).optional() },
        "expected an object with a format",
      ),
    ),
    reasoning: nested(
      z.strictObject(
        {
          effort: z.enum(["none", "minimal", "low", "medium", "high", "xhigh", "max"]).optional(),
          summary: z.enum(["auto", "concise", "detailed"]).optional(),
          generate_summary: z.enum(["auto", "concise", "detailed"]).optional(),
        },
        "expected an object",
      ),
    ),
    include: z
      .array(z.enum([LOGPROBS, ...NEUTRAL_INCLUDES], `expected ${[LOGPROBS, ...NEUTRAL_INCLUDES].join(" or ")}`))
      .optional(),
    top_logprobs: whole(0, 20).optional(),
    stream_options: nested(
      z.strictObject(
        { include_obfuscation: z.literal(false, "only false is supported").optional() },
        "expected an object",
      ),
    ),
    chat_template_kwargs: templateArguments.optional(),
  });

const { metadata: _, reasoning_effort, verbosity, store, ...others } = UNUSED;
const only = (...values: readonly unknown[]) => ({ neutral: (value: unknown) => values.includes(value) });

const UNUSED_HERE: UnusedFields = {
  ...others,
  background: { ...only(false), why: "answers are not made in the background; stream them" },
  context_management: { ...only(), why: "send what is to be kept as input" },
  conversation: { ...only(), why: "conversations are not kept; go on with previous_response_id" },
  max_tool_calls: { neutral: (value) => typeof value === "number" },
  prompt: { ...only(), why: "prompts are not kept here; send input and instructions" },
  truncation: { ...only("disabled"), why: "an input that is too long is refused: shorten it" },
};

/** Making schemas takes longer than reading with them. */
const made = new WeakMap<ServerLimits, ReturnType<typeof body>>();

/** The body of /v1/responses as it is documented. */
export const responseBody = (limits: ServerLimits) => schemaOf(limits).extend(toolShapes);

function schemaOf(limits: ServerLimits): ReturnType<typeof body> {
  let own = made.get(limits);
  if (!own) made.set(limits, (own = body(limits)));
  return own;
}

export interface ResponseRequest extends Asked {
  readonly body: z.output<ReturnType<typeof body>>;
  /** As it came: what it says of tools is said back. */
  readonly given: Readonly<Record<string, unknown>>;
  /** The conversation that is answered, without instructions. */
  readonly messages: readonly Message[];
  /** As the client has it: `text.format`. */
  readonly format: object;
}

/** Reads the body of /v1/responses. Throws ApiError naming the field that is wrong or not supported. */
export function readResponseRequest(
  given: Record<string, unknown>,
  limits: ServerLimits,
  kept: ResponseStore,
): ResponseRequest {
  const fields = { ...given };
  for (const name of TOOL_FIELDS) delete fields[name];
  const read = parseBody(schemaOf(limits), fields, UNUSED_HERE);
  const tools = readTools(asChatTools(given));
  const { text, include, top_logprobs, instructions, chat_template_kwargs: chatTemplateKwargs } = read;
  const before = conversationBefore(kept, read.previous_response_id);
  const messages = [...before, ...readItems(read.input, kept.item)];
  if (messages.length > limits.messages) throw refused("input", `at most ${limits.messages} messages`, "invalid_value");
  const system: Message[] = instructions ? [{ role: "system", content: instructions }] : [];
  const prompt = {
    messages: [...system, ...messages],
    ...(tools ? { tools: tools.shown } : {}),
    ...(chatTemplateKwargs ? { chatTemplateKwargs } : {}),
  };
  const logprobs = include?.includes(LOGPROBS) || top_logprobs !== undefined ? (top_logprobs ?? 0) : undefined;
  const format = withoutNull((given.text as { format?: unknown } | null | undefined)?.format) as object | undefined;
  return {
    body: read,
    given,
    messages,
    format: format ?? { type: "text" },
    model: read.model,
    prompts: [prompt],
    n: 1,
    stream: read.stream,
    includeUsage: true,
    adapterScale: read.adapter_scale,
    options: {
      maxNewTokens: read.max_output_tokens ?? limits.maxTokens,
      ...samplingOptions(read),
      ...(tools ? { toolCalling: tools.calling } : {}),
      ...(text?.format ? { responseFormat: text.format } : {}),
      ...(logprobs === undefined ? {} : { logprobs }),
    },
  };
}

/** Tools and the choice among them as /v1/chat/completions has them: a function's fields one level deeper. */
function asChatTools(given: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const { tools, tool_choice: choice } = given;
  const deeper = (one: unknown) => {
    const { type, ...called } = (typeof one === "object" && one !== null ? one : {}) as Record<string, unknown>;
    return type === "function" ? { type, function: called } : one;
  };
  return { ...given, tools: Array.isArray(tools) ? tools.map(deeper) : tools, tool_choice: deeper(choice) };
}

function conversationBefore(kept: ResponseStore, id: string | undefined): readonly Message[] {
  if (id === undefined) return [];
  const found = kept.get(id);
  if (found) return found.messages;
  const why = `there is no response '${id.slice(0, 100)}'; ${FORGOTTEN}`;
  throw refused("previous_response_id", why, "previous_response_not_found");
}
