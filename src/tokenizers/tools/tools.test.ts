import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { createAnswerReader } from "../../recipes/tools/answer-reader.js";
import { createChatTemplate, directRunner, type Message } from "../chat-template.js";
import { createTokenizer } from "../tokenizer.js";
import { toolTemplate } from "./index.js";

const reference = new URL("../../../test/reference/", import.meta.url);
const tokenizerJson = JSON.parse(readFileSync(new URL("tokenizers/smollm2.json", reference), "utf8"));
const familyTemplate = (name: string) => readFileSync(new URL(`jinja/families/${name}.jinja`, reference), "utf8");

const files = { tokenizerJson, tokenizerConfig: { bos_token: "<s>", eos_token: "<|im_end|>" } };
const tokenizer = createTokenizer(files);
const open = (chatTemplate: string) =>
  createChatTemplate({ ...files, chatTemplate }, tokenizer, { runner: directRunner });

const tool = {
  type: "function",
  function: { name: "ferry", description: "When one leaves", parameters: { type: "object", properties: {} } },
};
const user = (content: string): Message => ({ role: "user", content });
const call = (place: string, at: number) => ({
  id: "abcdefgh1",
  type: "function",
  function: { name: "ferry", arguments: { to: place, at, near: ["<b>", { deep: "}" }] } },
});
const caller = (...calls: object[]): Message => ({ role: "assistant", content: null, tool_calls: calls });

/** A template's answer to a question: what stands between the generation prompt and the end of the turn. */
async function answerOf(template: string, said: Message): Promise<string> {
  const chat = open(template);
  const asked = await chat.render([user("When?")], { tools: [tool], addGenerationPrompt: true });
  const whole = await chat.render([user("When?"), said], { tools: [tool] });
  expect(whole.startsWith(asked.trimEnd())).toBe(true);
  return whole.slice(asked.trimEnd().length);
}

/** Calls of an answer that comes in pieces of so many characters. */
function read(template: string, answer: string, size: number) {
  const reader = createAnswerReader(open(template).toolFormat!, new Set(["ferry"]));
  const [texts, calls]: [string[], { name: string; arguments: string }[]] = [[], []];
  for (let at = 0; at <= answer.length; at += size) {
    const last = at + size > answer.length;
    for (const { text, calls: pieces } of [reader.push(answer.slice(at, at + size)), ...(last ? [reader.end()] : [])]) {
      texts.push(text);
      for (const piece of pieces) {
        if (piece.name !== undefined) calls[piece.call] = { name: piece.name, arguments: "" };
        calls[piece.call]!.arguments += piece.arguments;
      }
    }
  }
  return { text: texts.join(""), calls };
}

const ENDS = /(<\|im_end\|>|<\|eot_id\|>|<\|end_of_text\|>)\s*$/;
const FAMILIES: Readonly<Record<string, { format: string; several: boolean }>> = {
  qwen25: { format: "hermes", several: true },
  qwen3: { format: "hermes", several: true },
  "hermes-tools": { format: "hermes", several: true },
  llama31: { format: "llama3", several: false },
  "mistral-v3": { format: "mistral3", several: true },
  granite: { format: "granite3", several: true },
  smollm3: { format: "hermes", several: true },
  chatml: { format: "hermes", several: true },
  gemma2: { format: "hermes", several: true },
};

describe.each(Object.entries(FAMILIES))("%s", (name, { format, several }) => {
  const template = familyTemplate(name);

  it("calls that the template writes are read as they were, however the answer is cut", async () => {
    expect(open(template).toolFormat?.name).toBe(format);
    const calls = several ? [call("Kos", 1), call("Ios", 2.5)] : [call("Kos", 1)];
    const answer = (await answerOf(template, caller(...calls))).replace(ENDS, "").replace(/<s>$|<end_of_turn>\s*$/, "");
    const expected = calls.map(({ function: { name, arguments: given } }) => ({ name, given }));
    for (const size of [1, 3, 7, 1000]) {
      const found = read(template, answer.replace(/^[\s\S]*<\/think>/, ""), size);
      expect(found.calls.map(({ name, arguments: given }) => ({ name, given: JSON.parse(given) }))).toEqual(expected);
    }
  });
});

it("a template without tools gets them in the system message, calls and results as Hermes has them", async () => {
  const chat = open(
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}",
  );
  const messages = [
    { role: "system", content: "Be brief." },
    user("When?"),
    { ...caller(call("Kos", 1)), content: "Let me see." },
    { role: "tool", tool_call_id: "abcdefgh1", content: "at 9" },
    { role: "tool", tool_call_id: "abcdefgh2", content: "at 10" },
  ];
  expect(await chat.render(messages, { tools: [tool], addGenerationPrompt: true })).toMatchInlineSnapshot(`
    "[system]Be brief.

    You can call these functions:
    <tools>
    {"type": "function", "function": {"name": "ferry", "description": "When one leaves", "parameters": {"type": "object", "properties": {}}}}
    </tools>
    To call one, answer with its name and a JSON object of its arguments:
    <tool_call>
    {"name": "NAME", "arguments": ARGUMENTS}
    </tool_call>[user]When?[assistant]Let me see.
    <tool_call>
    {"name": "ferry", "arguments": {"to": "Kos", "at": 1, "near": ["<b>", {"deep": "}"}]}}
    </tool_call>[user]<tool_response>
    at 9
    </tool_response>
    <tool_response>
    at 10
    </tool_response>[assistant]"
  `);
  expect(await chat.render([user("When?")], { tools: [] })).toBe("[user]When?");
  expect(await chat.render(messages.slice(3))).toBe("[tool]at 9[tool]at 10"); // without tools and calls as it always was
});

it("forms of calls that are not known are not taken for others", () => {
  expect(toolTemplate(familyTemplate("glm")).format).toBeUndefined();
  expect(toolTemplate("{{ tools }}{{ tool_calls }}<tool_call><function=x>").format).toBeUndefined();
  expect(toolTemplate("{# tools #}{{ 'tools and tool_calls' }}{{ messages }}").format?.name).toBe("hermes");
});
