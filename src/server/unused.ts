import type { Unused, UnusedFields } from "./fields.js";

const OLD_FUNCTIONS = "this is what OpenAI had before tools: send tools, and tool_choice, instead";
const NO_TOOLS = "only answers to messages call tools: send them to /v1/chat/completions";
const NO_AUDIO = "audio is not supported; this server takes and makes text";

const only = (...values: readonly unknown[]): Unused => ({ neutral: (value) => values.includes(value) });
const none = (why?: string): Unused => ({ neutral: () => false, ...(why === undefined ? {} : { why }) });
const empty = (why?: string): Unused => ({ neutral: isEmpty, ...(why === undefined ? {} : { why }) });
const text: Unused = { neutral: (value) => typeof value === "string", why: "expected a text" };
const anything: Unused = { neutral: () => true };

/** Fields of OpenAI's reference, with the values that ask for nothing this server could do otherwise. */
const OPENAI: UnusedFields = {
  audio: none(NO_AUDIO),
  best_of: {
    neutral: (value, { n }) => value === 1 || value === (n ?? 1),
    why: "only as many as n: every answer is returned",
  },
  echo: { ...only(false), why: "only /v1/completions repeats its prompt" },
  function_call: { neutral: (value) => value === "none" || value === "auto", why: OLD_FUNCTIONS },
  functions: empty(OLD_FUNCTIONS),
  logprobs: only(false),
  metadata: anything,
  modalities: {
    neutral: (value) => Array.isArray(value) && value.every((one) => one === "text"),
    why: `expected ["text"]: ${NO_AUDIO}`,
  },
  moderation: none("moderation is not supported"),
  parallel_tool_calls: only(true, false),
  prediction: none("predicted outputs are not supported"),
  prompt_cache_key: text,
  prompt_cache_options: anything,
  prompt_cache_retention: text,
  reasoning_effort: {
    ...only("none", "minimal", "low", "medium", "high", "xhigh", "max"),
    why: "expected none, minimal, low, medium, high or xhigh",
  },
  safety_identifier: text,
  service_tier: only("auto", "default"),
  store: { ...only(false), why: "answers are not stored here; leave it out or send false" },
  suffix: { ...only(""), why: "a text is continued at its end here, not filled in before a suffix" },
  tool_choice: { neutral: (value) => value === "none" || value === "auto", why: NO_TOOLS },
  tools: empty(NO_TOOLS),
  top_logprobs: only(0),
  user: text,
  verbosity: { ...only("low", "medium", "high"), why: "expected low, medium or high" },
  web_search_options: none("there is no web search"),
};

/** Fields of vLLM and other servers, with their defaults. */
const OTHERS: UnusedFields = {
  add_generation_prompt: only(true),
  // A template writes them itself; to a plain prompt they are added.
  add_special_tokens: { neutral: (value, body) => value === Object.hasOwn(body, "prompt") },
  allowed_token_ids: empty(),
  bad_words: empty(),
  cache_prompt: only(true, false),
  chat_template: none("the template is the one that was saved with the model"),
  chat_template_kwargs: empty(),
  continue_final_message: only(false),
  detokenize: only(true),
  documents: empty(),
  early_stopping: only(false),
  guided_choice: empty(),
  guided_grammar: only(""),
  guided_json: none("send the schema as response_format: json_schema"),
  guided_regex: only(""),
  ignore_eos: only(false),
  include_reasoning: only(true, false),
  include_stop_str_in_output: only(false),
  length_penalty: only(1),
  logits_processors: empty(),
  min_tokens: only(0),
  mm_processor_kwargs: empty(),
  priority: only(0),
  prompt_logprobs: none("log probabilities of the prompt are not supported"),
  request_id: text,
  return_token_ids: only(false),
  return_tokens_as_token_ids: only(false),
  skip_special_tokens: only(true),
  spaces_between_special_tokens: only(true),
  stop_token_ids: empty(),
  structured_outputs: empty(),
  truncate_prompt_tokens: only(-1),
  typical_p: only(1),
  use_beam_search: only(false),
};

/** Fields of requests for text that are accepted where they ask for nothing, and otherwise refused by name. */
export const UNUSED: UnusedFields = { ...OTHERS, ...OPENAI };

function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}
