import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Float } from "../tokenizers/json.js";
import { ApiError } from "./errors.js";
import { DEFAULT_LIMITS } from "./limits.js";
import { readChatRequest, readCompletionRequest } from "./schema.js";

const user = { role: "user", content: "Hi" };
const chat = (more: object) => readChatRequest({ model: "m", messages: [user], ...more }, DEFAULT_LIMITS);
const complete = (more: object) => readCompletionRequest({ model: "m", prompt: "Hi", ...more }, DEFAULT_LIMITS);
const messages = (list: readonly object[]) => (chat({ messages: list }).prompts[0] as { messages: unknown[] }).messages;

function refusal(act: () => unknown): ApiError {
  try {
    act();
  } catch (error) {
    if (error instanceof ApiError) return error;
    throw error;
  }
  throw new Error("it was accepted");
}

describe("fields that ask for nothing are accepted", () => {
  const tool = { type: "function", function: { name: "f", parameters: {} } };
  const neutral: object[] = [
    { metadata: { team: "a" }, safety_identifier: "u1", prompt_cache_key: "k", prompt_cache_retention: "24h" },
    { modalities: ["text"], verbosity: "medium", reasoning_effort: "low", service_tier: "auto", store: false },
    { user: "u", parallel_tool_calls: true, prediction: null, audio: null, web_search_options: null, moderation: null },
    { tools: [], tool_choice: "auto" },
    { functions: [], function_call: "none" },
    { n: 2, best_of: 2 },
    { logit_bias: {}, logprobs: false, top_logprobs: 0, seed: null, temperature: null, n: null, stream: null },
    { stop: null },
    { stop: "" },
    { stop: [] },
    { response_format: { type: "text" } },
    { stream: true, stream_options: { include_usage: null, include_obfuscation: false } },
    { stream_options: { include_usage: false } },
    { stream_options: null, response_format: null, max_tokens: null, max_completion_tokens: null },
    { top_k: -1, min_p: 0, repetition_penalty: 1, length_penalty: 1, ignore_eos: false, min_tokens: 0 },
    {
      add_special_tokens: false,
      add_generation_prompt: true,
      continue_final_message: false,
      chat_template: null,
      chat_template_kwargs: {},
    },
    { stop_token_ids: [], bad_words: [], skip_special_tokens: true, spaces_between_special_tokens: true },
    { guided_json: null, structured_outputs: null, documents: [], prompt_logprobs: null, cache_prompt: true },
  ];
  for (const fields of neutral) it(JSON.stringify(fields), () => void chat(fields));

  it("in completions too", () => {
    complete({ best_of: 1, echo: false, suffix: null, logprobs: null, user: "u", stop: ["a", ""], logit_bias: null });
    complete({ add_special_tokens: true, use_beam_search: false, suffix: "", n: 2, best_of: 2 });
  });

  it("numbers mean what they mean to OpenAI and vLLM", () => {
    expect(chat({ top_k: -1 }).options.topK).toBe(0);
    expect(chat({ top_p: 0 }).options).toMatchObject({ topK: 1 });
    expect(chat({ max_tokens: 1e9 }).options.maxNewTokens).toBe(DEFAULT_LIMITS.maxTokens);
    expect(chat({ max_completion_tokens: 1e15 }).options.maxNewTokens).toBe(DEFAULT_LIMITS.maxTokens);
    expect(chat({ max_tokens: 5, max_completion_tokens: 7 }).options.maxNewTokens).toBe(7);
    expect(complete({ max_tokens: 5 }).options.maxNewTokens).toBe(5);
    expect(chat({ stop: "x" }).options.stop).toEqual(["x"]);
    expect(chat({ stop: "" }).options.stop).toEqual([]);
    expect(chat({}).options.stop).toBeUndefined();
  });

  it("tools are shown to a model that is told to call none", () => {
    expect(chat({ tools: [tool], tool_choice: "none" }).prompts).toEqual([{ messages: [user], tools: [tool] }]);
    expect(chat({ tools: [], tool_choice: "none" }).prompts).toEqual([{ messages: [user] }]);
  });

  it("tools with a choice, and calls with their results in the history", () => {
    const strict = { type: "function", function: { ...tool.function, strict: true, description: null } };
    const asked = chat({ tools: [strict], tool_choice: { type: "function", function: { name: "f" } } });
    expect(asked.prompts[0]).toMatchObject({ tools: [{ function: { name: "f", parameters: {}, strict: true } }] });
    expect(asked.options.toolCalling).toEqual({
      tools: [{ name: "f", parameters: {}, strict: true }],
      choice: { name: "f" },
      parallel: true,
    });
    const call = { id: "c", type: "function", function: { name: "f", arguments: '{"a": 1.0}' } };
    const history = messages([
      { role: "assistant", content: null, tool_calls: [call] },
      { role: "tool", tool_call_id: "c", content: [{ type: "text", text: "1" }] },
    ]);
    expect(history).toEqual([
      {
        role: "assistant",
        content: null,
        tool_calls: [{ ...call, function: { name: "f", arguments: { a: new Float(1) } } }],
      },
      { role: "tool", content: "1", tool_call_id: "c" },
    ]);
  });
});

describe("what asks for something else is refused by name, in plain words", () => {
  const image = { type: "image_url", image_url: { url: "data:image/png;base64,AAAA" } };
  const said = (...list: object[]) => ({ messages: list });
  const named = (name: string, parameters: object = {}) => ({ type: "function", function: { name, parameters } });
  const cases: [object, string, RegExp][] = [
    [{ stop: [..."abcde"] }, "stop", /at most four texts, got a list of 5/],
    [{ stop: [1] }, "stop", /expected a text, or a list of at most four/],
    [{ stop: 3 }, "stop", /expected a text, or a list of at most four/],
    [{ tools: [{ type: "function" }] }, "tools[0].function", /is missing; expected an object with a name/],
    [{ tools: [{ type: "custom", custom: { name: "f" } }] }, "tools[0].type", /'custom' tools are not supported/],
    [{ tools: [named("a b")] }, "tools[0].function.name", /expected up to 64 letters/],
    [{ tools: [named("f"), named("f")] }, "tools[1].function.name", /'f' is there already/],
    [{ tools: [named("f", { type: "array" })] }, "tools[0].function.parameters", /expected a schema of type "object"/],
    [{ tools: "x", tool_choice: "none" }, "tools", /expected a list of tools, got 'x'/],
    [{ tool_choice: "required" }, "tool_choice", /'required' without tools/],
    [{ tools: [named("f")], tool_choice: "any" }, "tool_choice", /expected none, auto, required or .*got 'any'/],
    [{ tools: [named("f")], tool_choice: { type: "allowed_tools" } }, "tool_choice.type", /'allowed_tools' is not/],
    [
      { tools: [named("f")], tool_choice: { type: "function", function: { name: "g" } } },
      "tool_choice.function.name",
      /expected one of the tools: f, got 'g'/,
    ],
    [{ parallel_tool_calls: "yes" }, "parallel_tool_calls", /expected true or false/],
    [{ functions: [{ name: "f" }] }, "functions", /before tools: send tools/],
    [{ modalities: ["text", "audio"] }, "modalities", /audio is not supported/],
    [{ audio: { voice: "alloy" } }, "audio", /audio is not supported/],
    [{ store: true }, "store", /not stored here/],
    [{ service_tier: "flex" }, "service_tier", /not supported/],
    [{ prediction: { type: "content", content: "x" } }, "prediction", /predicted outputs/],
    [{ web_search_options: {} }, "web_search_options", /no web search/],
    [{ echo: true }, "echo", /only \/v1\/completions/],
    [{ verbosity: "loud" }, "verbosity", /expected low, medium or high/],
    [{ user: 3 }, "user", /expected a text/],
    [{ best_of: 3 }, "best_of", /only as many as n/],
    [{ temperature: 9 }, "temperature", /expected a number from 0 to 2, got 9/],
    [{ temperature: "1" }, "temperature", /expected a number from 0 to 2, got '1'/],
    [{ n: 0 }, "n", /expected a whole number from 1 to 8, got 0/],
    [{ max_tokens: 0 }, "max_tokens", /expected a whole number from 1, got 0/],
    [{ max_tokens: 1.5 }, "max_tokens", /expected a whole number from 1, got 1.5/],
    [{ top_k: -2 }, "top_k", /expected a whole number from -1/],
    [{ seed: "x" }, "seed", /expected a whole number, got 'x'/],
    [{ stream: "yes" }, "stream", /expected true or false, got 'yes'/],
    [{ logprobs: 3 }, "logprobs", /expected true or false, got 3/],
    [{ logprobs: true, top_logprobs: 21 }, "top_logprobs", /from 0 to 20/],
    [{ top_logprobs: 3 }, "top_logprobs", /only with logprobs: true/],
    [{ stream_options: { include_usage: true } }, "stream_options", /only with stream: true/],
    [
      { stream: true, stream_options: { include_obfuscation: true } },
      "stream_options.include_obfuscation",
      /only false/,
    ],
    [{ stream: true, stream_options: { usage: true } }, "stream_options", /'usage' is not supported in it/],
    [{ response_format: { type: "json_schema" } }, "response_format.json_schema", /is missing; expected an object/],
    [
      { response_format: { type: "json_schema", json_schema: {} } },
      "response_format.json_schema.name",
      /is missing; expected a text/,
    ],
    [
      { response_format: { type: "json_schema", json_schema: { name: "x", schema: [] } } },
      "response_format.json_schema.schema",
      /expected a JSON Schema/,
    ],
    [{ response_format: { type: "grammar" } }, "response_format.type", /expected 'text', .*, got 'grammar'/],
    [{ response_format: {} }, "response_format.type", /is missing; expected 'text', 'json_object' or/],
    [{ response_format: "json" }, "response_format", /expected an object with a type, got 'json'/],
    [{ model: undefined }, "model", /is missing; expected the name of a model/],
    [{ model: 3 }, "model", /expected the name of a model/],
    [{ ignore_eos: true }, "ignore_eos", /not supported/],
    [{ continue_final_message: true }, "continue_final_message", /not supported/],
    [{ chat_template: "x" }, "chat_template", /saved with the model/],
    [{ prompt: "x" }, "prompt", /not supported/],
    [{ top_kk: 3 }, "top_kk", /did you mean 'top_k'\?/],
    [{ ["x".repeat(1e6)]: 3 }, "x".repeat(100), /this field is not supported$/],
    [{ constructor: 3 }, "constructor", /not supported/],
    [JSON.parse('{"__proto__": 3}'), "__proto__", /not supported/],
    [{ add_special_tokens: true }, "add_special_tokens", /not supported/],
    [{ messages: undefined }, "messages", /is missing; expected a list of messages/],
    [{ messages: [] }, "messages", /expected a list of messages, got a list of 0/],
    [{ messages: "Hi" }, "messages", /expected a list of messages, got 'Hi'/],
    [{ messages: Array(2049).fill(user) }, "messages", /at most 2048 messages, got a list of 2049/],
    [said(user, null as never), "messages[1]", /expected a message such as .*, got null/],
    [said({ content: "x" }), "messages[0].role", /is missing; expected system, developer, user, assistant or tool/],
    [said({ role: "bot", content: "x" }), "messages[0].role", /expected system, .*, got 'bot'/],
    [said({ role: "__proto__", content: "x" }), "messages[0].role", /expected system/],
    [said(user, { role: "tool", content: "1" }), "messages[1].tool_call_id", /is missing; expected the id of a call/],
    [
      said({ role: "function", name: "f", content: "1" }),
      "messages[0].role",
      /'function': .*results with the role tool/,
    ],
    [said({ role: "user", content: null }), "messages[0].content", /expected a text or a list of text parts, got null/],
    [said({ role: "user" }), "messages[0].content", /is missing; expected a text/],
    [said({ role: "user", content: 3 }), "messages[0].content", /expected a text or a list of text parts, got 3/],
    [said({ role: "user", content: { text: "x" } }), "messages[0].content", /got an object/],
    [said({ role: "user", content: [image] }), "messages[0].content[0]", /image_url parts are not supported: images/],
    [said({ role: "user", content: [{ type: "input_audio" }] }), "messages[0].content[0]", /audio cannot be read here/],
    [said({ role: "user", content: [{ type: "odd" }] }), "messages[0].content[0].type", /expected a part .* got 'odd'/],
    [said({ role: "user", content: ["x"] }), "messages[0].content[0]", /expected a part such as/],
    [
      said({ role: "user", content: [{ type: "text" }] }),
      "messages[0].content[0].text",
      /expected a text, got undefined/,
    ],
    [
      said({ role: "assistant", content: null, tool_calls: [{ id: "c" }] }),
      "messages[0].tool_calls[0]",
      /expected a call such as .*, got an object/,
    ],
    [
      said({ role: "assistant", tool_calls: [{ function: { name: "f", arguments: "{" } }] }),
      "messages[0].tool_calls[0].function.arguments",
      /must be JSON text, and is not JSON/,
    ],
    [
      said({ role: "assistant", content: "x", function_call: { name: "f" } }),
      "messages[0].function_call",
      /before tools: send tool_calls/,
    ],
    [said({ role: "assistant", content: "x", audio: { id: "a" } }), "messages[0].audio", /audio is not supported/],
    [said({ role: "assistant", content: "x", prefix: true }), "messages[0].prefix", /not supported/],
    [said({ role: "user", content: "x", name: 3 }), "messages[0].name", /expected a text, got 3/],
  ];
  for (const [fields, param, message] of cases) {
    it(JSON.stringify(fields).slice(0, 100), () => {
      const error = refusal(() => chat(fields));
      expect(error).toMatchObject({ status: 400, param, message: expect.stringMatching(message) });
      expect(error.message).not.toContain("Invalid input");
      expect(error.message.startsWith(`${param}: `)).toBe(true);
      expect(error.message.length).toBeLessThan(300);
      expect(error.code).toMatch(
        /^(invalid_value|missing_required_parameter|unknown_parameter|unsupported_parameter)$/,
      );
    });
  }

  it("in completions: prompts that are none", () => {
    for (const prompt of [undefined, null, [], 3, [1, "a"], [[]], [[1], []], [-1], {}])
      expect(refusal(() => complete({ prompt })).message).toMatch(
        /^prompt(\.\d)?: .*expected a text, a list of texts, a list of token ids, or a list of such lists/,
      );
    for (const logit_bias of [{ a: 1 }, { 5: 101 }, [1]])
      expect(refusal(() => complete({ logit_bias })).param).toMatch(/^logit_bias/);
    expect(refusal(() => complete({ logprobs: 9 })).message).toMatch(/from 0 to 5, got 9/);
    expect(refusal(() => complete({ suffix: "end" })).param).toBe("suffix");
    expect(refusal(() => complete({ max_tokens: 0 })).param).toBe("max_tokens");
    expect(refusal(() => complete({ prompt: Array(9).fill("x") })).message).toContain("at most 8 answers a request");
  });
});

describe("messages", () => {
  it("as the official package gives them back, and with a client's own notes in them", () => {
    const given = { role: "assistant", content: "Hello", refusal: null, annotations: [], audio: null };
    const list = [
      { ...user, id: 1947, opts: { visible: false }, name: null },
      { ...given, function_call: null, tool_calls: null },
      { ...given, tool_calls: [], weight: 0, annotations: [{ type: "url_citation" }], cache_control: {} },
      { ...user, name: "Ada", tool_call_id: null },
    ];
    expect(messages(list)).toEqual([
      user,
      { role: "assistant", content: "Hello" },
      { role: "assistant", content: "Hello" },
      { ...user, name: "Ada" },
    ]);
  });

  it("content: parts, a refusal, nothing", () => {
    const part = (text: string) => ({ type: "text", text, annotations: [] });
    expect(
      messages([
        { role: "developer", content: [part("a"), part("b")] },
        { role: "user", content: "" },
        { role: "user", content: [] },
        { role: "assistant", content: null, refusal: "No." },
        { role: "assistant", content: [{ type: "refusal", refusal: "No." }] },
        { role: "assistant" },
        { role: "assistant", content: "x", reasoning_content: "because" },
      ]),
    ).toEqual([
      { role: "system", content: "a\nb" },
      { role: "user", content: "" },
      { role: "user", content: "" },
      { role: "assistant", content: "No." },
      { role: "assistant", content: "No." },
      { role: "assistant", content: "" },
      { role: "assistant", content: "x", reasoning_content: "because" },
    ]);
  });
});

it("every field that the openai package's types name is known: null passes, and what is refused has a reason", () => {
  const fieldsOf = (file: string, type: string) => {
    const path = new URL(`../../node_modules/openai/resources/${file}.d.ts`, import.meta.url);
    const [, body] = new RegExp(`export interface ${type} \\{([^]*?)\\n\\}`).exec(readFileSync(path, "utf8"))!;
    return [...body!.matchAll(/^ {4}([a-z_]+)\??:/gm)].map(([, name]) => name!);
  };
  const own = ["model", "messages", "prompt"];
  const ANYTHING = ["metadata", "prompt_cache_options"];
  for (const [read, file, type] of [
    [chat, "chat/completions/completions", "ChatCompletionCreateParamsBase"],
    [complete, "completions", "CompletionCreateParamsBase"],
  ] as const) {
    const fields = fieldsOf(file, type);
    expect(fields.length).toBeGreaterThan(15);
    for (const field of fields.filter((name) => !own.includes(name))) {
      read({ [field]: null });
      if (ANYTHING.includes(field)) read({ [field]: { odd: true } });
      else expect(refusal(() => read({ [field]: { odd: true } })).message, field).not.toContain("this field is not");
    }
  }
});
