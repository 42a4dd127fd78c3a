import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { createChatTemplate, directRunner, type Message } from "./chat-template.js";
import { configTemplates, specialTokens, type TokenizerFiles } from "./files.js";
import { createTokenizer } from "./tokenizer.js";

const folder = new URL("../../test/reference/tokenizers/", import.meta.url);
const load = (name: string) => JSON.parse(readFileSync(new URL(`${name}.json`, folder), "utf8"));

interface Chat {
  tokenizer: string;
  name: string;
  template: string;
  bos: string;
  eos: string;
  renders: {
    messages: Message[];
    add_generation_prompt: boolean;
    tools?: object[];
    text: string;
    ids: number[];
    assistant?: number[];
  }[];
}

function open({ tokenizer: name, template, bos, eos }: Pick<Chat, "tokenizer" | "template" | "bos" | "eos">) {
  const files = {
    tokenizerJson: load(name),
    tokenizerConfig: { bos_token: bos, eos_token: eos },
    chatTemplate: template,
  };
  const tokenizer = createTokenizer(files);
  return { tokenizer, chat: createChatTemplate(files, tokenizer, { runner: directRunner }) };
}
const chatml = (template: string) =>
  open({ tokenizer: "smollm2", template, bos: "<|im_start|>", eos: "<|im_end|>" }).chat;

describe.each(load("expected").chats as Chat[])("$name template", (reference) => {
  const { tokenizer, chat } = open(reference);

  it("writes what transformers writes, text and ids", async () => {
    for (const { messages, add_generation_prompt: addGenerationPrompt, tools, text, ids } of reference.renders) {
      expect(await chat.render(messages, { addGenerationPrompt, tools })).toBe(text);
      expect(await chat.encode(messages, { addGenerationPrompt, tools })).toEqual(ids);
    }
  });

  it("names the tokens that end an answer", async () => {
    expect([...(await chat.stopIds())]).toEqual([tokenizer.eosId]);
  });

  it.runIf(reference.name === "llama3")("trap 2: exactly one BOS where the template writes it", async () => {
    const ids = await chat.encode(reference.renders[0]!.messages);
    expect(ids.filter((id) => id === tokenizer.bosId)).toHaveLength(1);
  });

  it.runIf(chat.marksAssistant)("covers with its spans the tokens of transformers' assistant mask", async () => {
    for (const { messages, add_generation_prompt: addGenerationPrompt, text, assistant } of reference.renders) {
      const [rendered] = await chat.renderMany([{ messages, addGenerationPrompt }]);
      if ("error" in rendered!) throw new Error(rendered.error);
      expect(rendered!.text).toBe(text);
      const { starts } = tokenizer.encodeWithOffsets(text, { addSpecialTokens: false });
      const mask = starts.map((start) => Number(rendered!.spans.some(([from, to]) => from <= start && start < to)));
      expect(mask).toEqual(assistant);
    }
  });
});

describe("chat template", () => {
  const hi: Message[] = [{ role: "user", content: "hi" }];

  it("gives one conversation's refusal and the others' text", async () => {
    const chat = chatml("{% if messages[0].role != 'user' %}{{ raise_exception('user first') }}{% endif %}ok");
    const odd: Message[] = [{ role: "system", content: "x" }];
    expect(await chat.renderMany([{ messages: hi }, { messages: odd }, { messages: hi }])).toEqual([
      { text: "ok", spans: [] },
      { error: "user first" },
      { text: "ok", spans: [] },
    ]);
    await expect(chat.render(odd)).rejects.toThrow("chat template: user first");
    await expect(chatml("{% if %}").render(hi)).rejects.toThrow(/chat template: /);
  });

  it("shows a fixed date", async () => {
    const source = "{{ strftime_now('%d %b %Y, %A %B %H:%M %%') }}";
    expect(await chatml(source).render(hi)).toBe("26 Jul 2024, Friday July 00:00 %");
    const files = { tokenizerJson: load("smollm2"), tokenizerConfig: {}, chatTemplate: source };
    const later = createChatTemplate(files, createTokenizer(files), { runner: directRunner, now: "2031-01-05T10:30Z" });
    expect(await later.render(hi)).toBe("05 Jan 2031, Sunday January 10:30 %");
  });

  it("finds a turn's end that is not the EOS", async () => {
    const { chat, tokenizer } = open({
      tokenizer: "llama3",
      template: "{% for m in messages %}{{ m.content }}<|eot_id|>{% endfor %}",
      bos: "<|begin_of_text|>",
      eos: "<|end_of_text|>",
    });
    expect(await chat.stopIds()).toEqual(new Set([tokenizer.id("<|end_of_text|>"), tokenizer.id("<|eot_id|>")]));
  });

  it("takes the template named tool_use for tools, and says when there is no default", async () => {
    const named = configTemplates([
      { name: "tool_use", template: "T{{ tools | tojson }}" },
      { name: "default", template: "D{{ tools }}" },
    ]);
    const files = { tokenizerJson: load("smollm2"), tokenizerConfig: {}, ...named };
    const tokenizer = createTokenizer(files);
    const chat = createChatTemplate(files, tokenizer, { runner: directRunner });
    expect(
      await chat.renderMany([{ messages: hi, tools: [1] }, { messages: hi }, { messages: hi, tools: [] }]),
    ).toEqual([
      { text: "T[1]", spans: [] },
      { text: "DNone", spans: [] },
      { text: "T[]", spans: [] },
    ]);
    const none = { ...files, chatTemplate: undefined };
    expect(() => createChatTemplate(none, tokenizer, { runner: directRunner })).toThrow(
      /several \(tool_use\) and none/,
    );
  });

  it("knows every special token with a name, and messages as transformers hands them on", async () => {
    const config = {
      pad_token: { content: "<pad>" },
      image_token: "<img>",
      unk_token: null,
      extra_special_tokens: { audio: "<a>" },
    };
    const files = {
      tokenizerJson: load("smollm2"),
      tokenizerConfig: config,
      specialTokensMap: { cls_token: "<cls>", pad_token: "<p>" },
      chatTemplate: "{{ pad_token ~ cls_token ~ image_token ~ audio }}{{ unk_token is defined }}{{ messages }}",
    };
    const chat = createChatTemplate(files, createTokenizer(files), { runner: directRunner });
    expect(await chat.render([{ role: "assistant", content: null, thinking: "hm", meta: [null] }])).toBe(
      "<p><cls><img><a>False[{'thinking': 'hm', 'role': 'assistant', 'meta': [None], 'reasoning_content': 'hm'}]",
    );
    expect(
      specialTokens({
        tokenizerConfig: { ...config, added_tokens_decoder: {} },
        specialTokensMap: files.specialTokensMap,
      }),
    ).toEqual({ pad_token: "<pad>", image_token: "<img>", audio: "<a>" });
  });

  it("refuses models without a template", () => {
    const files: TokenizerFiles = { tokenizerJson: load("smollm2"), tokenizerConfig: {} };
    expect(() => createChatTemplate(files, createTokenizer(files), { runner: directRunner })).toThrow(
      /has none.*chat_template\.jinja/,
    );
  });
});
