import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type ChatTemplate, createChatTemplate, directRunner, type Message } from "../tokenizers/chat-template.js";
import { createTokenizer } from "../tokenizers/tokenizer.js";
import { assistantTurns } from "./row.js";
import { renderWithSpans, type Span } from "./spans.js";

const folder = new URL("../../test/reference/tokenizers/", import.meta.url);
const load = (name: string) => JSON.parse(readFileSync(new URL(`${name}.json`, folder), "utf8"));
const tokenizerConfig = { bos_token: "<|im_start|>", eos_token: "<|im_end|>" };
const tokenizer = createTokenizer({ tokenizerJson: load("smollm2"), tokenizerConfig });
const references = load("expected").chats as { name: string; template: string }[];

/** A template that counts what it is asked to render. */
function open(template: string): ChatTemplate & { readonly asked: { renders: number; messages: number } } {
  const asked = { renders: 0, messages: 0 };
  const files = { chatTemplate: template, tokenizerConfig };
  const chat = createChatTemplate(files, tokenizer, { runner: directRunner });
  const renderMany: ChatTemplate["renderMany"] = (requests) => {
    asked.renders += requests.length;
    for (const { messages } of requests) asked.messages += messages.length;
    return chat.renderMany(requests);
  };
  return { ...chat, renderMany, asked };
}

/** Spans by two renderings a turn, which is what they mean. */
async function byDefinition(chat: ChatTemplate, messages: readonly Message[], turns: readonly number[]) {
  const spans: Span[] = [];
  for (const turn of turns) {
    const before = await chat.render(messages.slice(0, turn), { addGenerationPrompt: true });
    const through = await chat.render(messages.slice(0, turn + 1));
    spans.push([before.length, through.length]);
  }
  return spans;
}

const say = (role: string, content: string) => ({ role, content });
/** Questions and answers, some of them alike, some with white space around them. */
const talk = (pairs: number): Message[] =>
  Array.from({ length: pairs }, (_, i) => [
    say("user", i % 3 === 0 ? "And then?" : `${" ".repeat(i % 2)}Question ${i}?\n`),
    say("assistant", i % 4 === 0 ? "Yes." : `Answer ${i}.`),
  ]).flat();

const withTools =
  "{% for m in messages %}{% if m.role == 'tool' %}{% if messages[loop.index0 - 1].role != 'tool' %}<|im_start|>user{% endif %}\n<result>\n{{ m.content }}\n</result>{% if loop.last or messages[loop.index0 + 1].role != 'tool' %}<|im_end|>\n{% endif %}{% else %}<|im_start|>{{ m.role }}\n{{ m.content or '' }}{% for c in m.tool_calls or [] %}<call>{{ c.function | tojson }}</call>{% endfor %}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

describe("turns of long conversations", () => {
  const plain = references.filter(({ name }) => name !== "generation");
  it.each(plain)("$name: are where two renderings a turn put them, by a few renderings", async ({ template }) => {
    const chat = open(template);
    const messages = [say("system", "Be brief."), ...talk(60)];
    const turns = assistantTurns(messages);
    const [found] = await renderWithSpans(chat, [{ messages, turns, apart: false }]);
    const { asked } = chat;
    expect(found).toEqual({
      text: await chat.render(messages),
      spans: await byDefinition(open(template), messages, turns),
    });
    expect(asked.renders).toBeLessThan(30);
  });

  it("tell calls and results of tools apart, also several in a row", async () => {
    const chat = open(withTools);
    const call = (i: number): Message => ({
      role: "assistant",
      content: null,
      tool_calls: [{ type: "function", function: { name: "look", arguments: { page: i } } }],
    });
    const messages = Array.from({ length: 30 }, (_, i) => [
      say("user", `Look up ${i}.`),
      call(i),
      say("tool", i % 3 ? `page ${i}` : ""),
      ...(i % 2 ? [say("tool", `and ${i}`)] : []),
      say("assistant", `It says ${i}.`),
    ]).flat();
    const turns = assistantTurns(messages);
    const [found] = await renderWithSpans(chat, [{ messages, turns, apart: false }]);
    expect(chat.asked.renders).toBeLessThan(40);
    expect(found).toHaveProperty("spans", await byDefinition(open(withTools), messages, turns));
  });

  it("cost a number of renderings that does not grow with them", async () => {
    const renders: number[] = [];
    for (const pairs of [100, 1000]) {
      const chat = open(references.find(({ name }) => name === "chatml")!.template);
      const messages = talk(pairs);
      await renderWithSpans(chat, [{ messages, turns: assistantTurns(messages), apart: false }]);
      renders.push(chat.asked.renders);
      expect(chat.asked.messages).toBeLessThan(12 * messages.length);
    }
    expect(renders[1]).toBe(renders[0]);
  });

  const thoughts =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and not loop.last %}{{ m.content.split('</think>')[-1] }}{% else %}{% if m.thought %}<think>{{ m.thought }}</think>{% endif %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
  it.each([
    ["in its text", say("assistant", "<think>hm</think>Right.")],
    ["in a field of its own", { ...say("assistant", "Right."), thought: "hm" }],
  ])("with a thought in the middle %s, which is left out there: refused, as in a short one", async (_, thinking) => {
    for (const pairs of [4, 40]) {
      const messages = talk(pairs);
      const at = pairs + 1;
      messages[at] = thinking;
      const [found] = await renderWithSpans(open(thoughts), [
        { messages, turns: assistantTurns(messages), apart: false },
      ]);
      expect(found).toEqual({
        rewritten: true,
        error: expect.stringMatching(new RegExp(`writes turn ${at} differently when more turns`)),
      });
    }
  });

  it.each([
    [
      "writes the system prompt late",
      "{% for m in messages[1:] %}<|im_start|>{{ m.role }}\n{% if loop.last %}{{ messages[0].content }}{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}",
    ],
    [
      "looks into messages",
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | upper }}<|im_end|>\n{% endfor %}",
    ],
  ])("of a template that %s: never guessed", async (_, source) => {
    const template = `${source}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}`;
    const messages = [say("system", "Be brief."), ...talk(20)];
    const turns = assistantTurns(messages);
    const [found] = await renderWithSpans(open(template), [{ messages, turns, apart: false }]);
    if ("error" in found!) expect(found.error).toMatch(/writes turn \d+ differently/);
    else expect(found!.spans).toEqual(await byDefinition(open(template), messages, turns));
    const many = [say("system", "Be brief."), ...talk(200)];
    const [refused] = await renderWithSpans(open(template), [
      { messages: many, turns: assistantTurns(many), apart: false },
    ]);
    expect(refused).toHaveProperty("error", expect.stringMatching(/writes turn|200 assistant turns, and more than 32/));
  });

  it("hold marks of their own: looked at exactly", async () => {
    const template = references.find(({ name }) => name === "chatml")!.template;
    const messages = talk(20);
    messages[4] = say("user", "a \ufdd2 and \ufdd3 b");
    const turns = assistantTurns(messages);
    const [found] = await renderWithSpans(open(template), [{ messages, turns, apart: false }]);
    expect(found).toHaveProperty("spans", await byDefinition(open(template), messages, turns));
  });
});
