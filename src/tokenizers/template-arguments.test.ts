import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { createChatTemplate, directRunner, type Message } from "./chat-template.js";
import type { TokenizerFiles } from "./files.js";
import { withTemplateArguments } from "./template-arguments.js";
import { createTokenizer } from "./tokenizer.js";

const reference = new URL("../../test/reference/", import.meta.url);
const read = (name: string) => readFileSync(new URL(name, reference), "utf8");
const files = (chatTemplate: string): TokenizerFiles => ({
  tokenizerJson: JSON.parse(read("tokenizers/smollm2.json")),
  tokenizerConfig: { bos_token: "<|im_start|>", eos_token: "<|im_end|>", chat_template: chatTemplate },
  chatTemplate,
});
const speak = (own: TokenizerFiles, chatTemplateKwargs = {}) =>
  createChatTemplate(own, createTokenizer(own), { runner: directRunner, chatTemplateKwargs });

const qwen3 = files(read("jinja/families/qwen3.jinja"));
const hi: Message[] = [{ role: "user", content: "hi" }];
const asked = { addGenerationPrompt: true };
const silent = "<|im_start|>assistant\n<think>\n\n</think>\n\n";

describe("arguments of a chat template", () => {
  it("Qwen3's thinking: kept with the template, unless a conversation says otherwise", async () => {
    expect(await speak(qwen3).render(hi, asked)).not.toContain("<think>");
    const pinned = withTemplateArguments(qwen3, { enable_thinking: false });
    expect((await speak(pinned).render(hi, asked)).endsWith(silent)).toBe(true);
    expect(await speak(pinned, { enable_thinking: true }).render(hi, asked)).not.toContain("<think>");
    const own = { ...asked, chatTemplateKwargs: { enable_thinking: true } };
    expect(await speak(pinned).render(hi, own)).not.toContain("<think>");
    expect(await speak(pinned, { enable_thinking: false }).render(hi, own)).not.toContain("<think>");
  });

  it("gives each kind of value as JSON has it, and leaves the template's own text alone", async () => {
    const values = { a: 'it\'s "so"\n{% x %} 😀', b: -1.5, c: null, d: [true, { e: [1, "f"] }], g: {}, h: false };
    const template = "\n  {{ [a, b, c, d, g, h] | tojson }}{{ a }}\n";
    const expected = await speak(files(template), values).render(hi);
    expect(expected).toContain('{% x %} 😀", -1.5, null, [true, {"e": [1, "f"]}], {}, false]');
    expect(await speak(withTemplateArguments(files(template), values)).render(hi)).toBe(expected);
  });

  it("a date is pinned with the template", async () => {
    const dated = files(
      "{% if not date_string is defined %}{% set date_string = strftime_now('%Y') %}{% endif %}{{ date_string }}",
    );
    expect(await speak(dated).render(hi)).toBe("2024");
    expect(await speak(withTemplateArguments(dated, { date_string: "1 May 2031" })).render(hi)).toBe("1 May 2031");
  });

  it("changes every template, and the files that hold them", async () => {
    const bytes = (text: string) => new TextEncoder().encode(text);
    const originals = new Map([
      ["tokenizer.json", bytes("{}")],
      ["tokenizer_config.json", bytes("{}")],
      ["chat_template.jinja", bytes("{{ x }}")],
      ["additional_chat_templates/tool_use.jinja", bytes("tools {{ x }}")],
    ]);
    const several = { ...files("{{ x }}"), namedTemplates: new Map([["tool_use", "tools {{ x }}"]]), originals };
    const pinned = withTemplateArguments(several, { x: 7 });
    expect(await speak(pinned).render(hi, { tools: [{}] })).toBe("tools 7");
    expect([...pinned.originals!.keys()]).toEqual(["tokenizer.json", "tokenizer_config.json"]);
    const config = JSON.parse(new TextDecoder().decode(pinned.originals!.get("tokenizer_config.json")));
    expect(config.chat_template[1].template).toBe(pinned.namedTemplates!.get("tool_use"));
    expect(withTemplateArguments(several, {})).toBe(several);
  });

  it.each([
    [
      { enable_thinkin: false },
      "chat_template_kwargs: the chat template nowhere reads 'enable_thinkin'; did you mean 'enable_thinking'?",
    ],
    [{ zzzzzzzzzz: 1 }, "'zzzzzzzzzz', so it would change nothing: leave it out"],
    [{ messages: [] }, "'messages' comes with every conversation, so it is no argument"],
    [{ "a b": 1 }, "'a b' is no name that a chat template can read"],
    [{ eos_token: "x" }, "'eos_token' is one of the model's own tokens"],
  ])("%o is refused", (given, message) => {
    expect(() => withTemplateArguments(qwen3, given)).toThrow(message);
  });
});
