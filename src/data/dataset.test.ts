import { readFileSync } from "node:fs";
import { describe, expect, it, vi } from "vitest";
import { createChatTemplate, directRunner } from "../tokenizers/chat-template.js";
import { createTokenizer } from "../tokenizers/tokenizer.js";
import { type DatasetContext, type DatasetOptions, describeDataset, loadDataset } from "./dataset.js";

const folder = new URL("../../test/reference/tokenizers/", import.meta.url);
const load = (name: string) => JSON.parse(readFileSync(new URL(`${name}.json`, folder), "utf8"));
const chats = load("expected").chats as {
  tokenizer: string;
  name: string;
  template: string;
  bos: string;
  eos: string;
}[];

function open(name: string, template = chats.find((c) => c.name === name)!.template): DatasetContext {
  const { tokenizer: base, bos, eos } = chats.find((c) => c.name === name)!;
  const files = {
    tokenizerJson: load(base),
    tokenizerConfig: { bos_token: bos, eos_token: eos },
    chatTemplate: template,
  };
  const tokenizer = createTokenizer(files);
  return { tokenizer, chat: () => createChatTemplate(files, tokenizer, { runner: directRunner }) };
}

const bytes = (text: string) => [new TextEncoder().encode(text)];
const jsonl = (...rows: object[]) => bytes(rows.map((row) => JSON.stringify(row)).join("\n"));
const read = (context: DatasetContext, rows: object[], options: Partial<DatasetOptions> = {}) =>
  loadDataset(jsonl(...rows), context, { name: "rows.jsonl", ...options });

/** The targets of each sample as text; "|" where targets are not neighbours. */
async function targets(context: DatasetContext, rows: object[], options: Partial<DatasetOptions> = {}) {
  const { samples } = await read(context, rows, options);
  return samples.map(({ ids, supervised }) => {
    const runs: number[][] = [];
    supervised.forEach((flag, i) => {
      if (flag && supervised[i - 1]) runs.at(-1)!.push(ids[i]!);
      else if (flag) runs.push([ids[i]!]);
    });
    return runs.map((run) => context.tokenizer.decode(run, { skipSpecialTokens: false })).join("|");
  });
}

const turn = (role: string, content: string) => ({ role, content });
const conversation = {
  messages: [
    turn("system", "Be brief."),
    turn("user", "Who is Ada?"),
    turn("assistant", "Ada writes."),
    turn("user", "And Grace?"),
    turn("assistant", "I don't know."),
  ],
};

describe("targets of conversations", () => {
  const expected = {
    chatml: ["Ada writes.<|im_end|>", "I don't know.<|im_end|>"],
    generation: ["Ada writes.<|im_end|>", "I don't know.<|im_end|>"],
    llama2: ["Ada writes. </s>", "I don't know. </s>"],
    llama3: ["Ada writes.<|eot_id|>", "I don't know.<|eot_id|>"],
    zephyr: ["Ada writes.</s>", "I don't know.</s>"],
  };

  it.each(Object.entries(expected))("trap 1: %s turns end with a supervised end token", async (name, turns) => {
    const context = open(name);
    expect(await targets(context, [conversation])).toEqual([turns.join("|")]);
    expect(await targets(context, [conversation], { trainOn: "last" })).toEqual([turns[1]]);
    const { samples } = await read(context, [conversation]);
    const last = samples[0]!.supervised.lastIndexOf(1);
    expect(samples[0]!.ids[last]).toBe(context.tokenizer.eosId);
  });

  it("supervises everything but the first token with train_on: all", async () => {
    const { samples } = await read(open("llama3"), [conversation], { trainOn: "all" });
    expect([...samples[0]!.supervised]).toEqual([0, ...new Array(samples[0]!.ids.length - 1).fill(1)]);
  });

  it("trap 2: ids are the template's, with exactly one BOS", async () => {
    const context = open("llama3");
    const { samples } = await read(context, [conversation]);
    expect([...samples[0]!.ids]).toEqual(await context.chat!().encode(conversation.messages));
    expect([...samples[0]!.ids].filter((id) => id === context.tokenizer.bosId)).toHaveLength(1);
  });

  it("trap 1: puts an EOS after an answer the template leaves open", async () => {
    const context = open("zephyr", "{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}");
    const { messages } = conversation;
    const { report } = await read(context, [{ messages }]);
    expect(report.notes[0]).toMatch(/EOS was put after the last one of 1 rows/);
    // There is no generation prompt, so the model has to write the role too.
    expect(await targets(context, [{ messages: messages.slice(0, 3) }])).toEqual(["assistant: Ada writes.\n</s>"]);
  });

  it("includes the end token after a {% generation %} that leaves it out", async () => {
    const source =
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}";
    expect(await targets(open("chatml", source), [conversation])).toEqual([
      "Ada writes.<|im_end|>|I don't know.<|im_end|>",
    ]);
  });

  it("makes each turn a sample where a template rewrites earlier ones, or trains on the last one", async () => {
    const source =
      "{% for m in messages %}{% if m.role == 'assistant' and not loop.last %}<|im_start|>assistant\n...<|im_end|>\n{% else %}<|im_start|>{{ m.role + '\n' + m.content }}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    const context = open("chatml", source);
    const found = await read(context, [conversation, { messages: conversation.messages.slice(0, 3) }]);
    expect(found.samples.map(({ index }) => index)).toEqual([0, 0, 1]);
    expect(found.samples[0]!.ids).toEqual(found.samples[2]!.ids);
    expect(describeDataset(found)[0]).toMatch(/^rows.jsonl: 2 of 2 rows/);
    expect(describeDataset(found)).toContainEqual(expect.stringMatching(/of 1 rows every turn is a sample of its own/));
    expect(await targets(context, [conversation])).toEqual(["Ada writes.<|im_end|>", "I don't know.<|im_end|>"]);
    const all = { trainOn: "all" } as const;
    expect((await read(context, [conversation], all)).samples).toHaveLength(1);
    expect(await targets(context, [conversation], { trainOn: "last" })).toEqual(["I don't know.<|im_end|>"]);
  });

  it("has Qwen3's thoughts as targets in every turn, each where the model is asked for it", async () => {
    const template = readFileSync(new URL("../jinja/families/qwen3.jinja", folder), "utf8");
    const messages = [
      turn("user", "Who?"),
      turn("assistant", "<think>\nLook.\n</think>\n\nAda."),
      turn("user", "When?"),
      { ...turn("assistant", "1843."), reasoning_content: "A note." },
    ];
    const context = open("chatml", template);
    expect(await targets(context, [{ messages }])).toEqual([
      "<think>\nLook.\n</think>\n\nAda.<|im_end|>",
      "<think>\nA note.\n</think>\n\n1843.<|im_end|>",
    ]);
    const { samples } = await read(context, [{ messages }]);
    const [first, last] = samples.map(({ ids }) => context.tokenizer.decode([...ids], { skipSpecialTokens: false }));
    expect(first).toContain("Look.");
    expect(last).not.toContain("Look.");
    const without = open("chatml", `{% set enable_thinking = false %}${template}`);
    const plain = messages.map(({ role, content }) => turn(role, content.split("</think>").at(-1)!.trim()));
    expect(await targets(without, [{ messages: plain }])).toEqual(["Ada.<|im_end|>", "1843.<|im_end|>"]);
  });

  it("Gemma's roles and one BOS, where the template and the tokenizer both have one (trap 2)", async () => {
    const context = open("llama3", readFileSync(new URL("../jinja/families/gemma3.jinja", folder), "utf8"));
    const { tokenizer } = context;
    expect(tokenizer.addsBos).toBe(true);
    const { ids } = (await read(context, [conversation])).samples[0]!;
    expect([...ids].filter((id) => id === tokenizer.bosId)).toHaveLength(1);
    const text = tokenizer.decode([...ids], { skipSpecialTokens: false });
    expect(text).toContain(
      "<start_of_turn>user\nBe brief.\n\nWho is Ada?<end_of_turn>\n<start_of_turn>model\nAda writes.",
    );
    const asked = await context.chat!().encode(conversation.messages.slice(0, 4), { addGenerationPrompt: true });
    expect([...ids.slice(0, asked.length)]).toEqual(asked);
  });

  it("a date that the template writes is the same on every day", async () => {
    const dated = "{{ strftime_now('%d %B %Y') }}{% for m in messages %}|{{ m.content }}{% endfor %}";
    const texts: string[] = [];
    for (const day of ["2026-01-01", "2031-12-31"]) {
      vi.useFakeTimers({ now: new Date(day), toFake: ["Date"] });
      const context = open("chatml", dated);
      texts.push(context.tokenizer.decode([...(await read(context, [conversation])).samples[0]!.ids]));
      vi.useRealTimers();
    }
    expect(texts[0]).toMatch(/^26 July 2024\|Be brief/);
    expect(texts[1]).toBe(texts[0]);
  });

  it("refuses a template that asks for another answer than it writes", async () => {
    const source =
      "{% for m in messages %}<|im_start|>{{ m.role + '\n' + m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>model\n{% endif %}";
    await expect(read(open("chatml", source), [conversation])).rejects.toThrow(
      /rows.jsonl:1: .*turn 2 differently.*train_on: last/,
    );
  });

  it("reads ShareGPT turns as messages", async () => {
    const shared = {
      conversations: [
        { from: "human", value: "Hi" },
        { from: "gpt", value: "Ada" },
      ],
    };
    expect(await targets(open("chatml"), [shared])).toEqual(["Ada<|im_end|>"]);
  });
});

describe("targets of texts", () => {
  const rows = {
    prompt_completion: { prompt: "Q: who?\nA:", completion: " Ada writes" },
    alpaca: { instruction: "Who?", input: "", output: "Ada writes", text: "ignored" },
    text: { text: "Ada writes" },
  };

  it.each(["llama2", "llama3", "chatml"])("trap 1: %s completions end with a supervised EOS", async (name) => {
    const context = open(name);
    const { eosToken, bosId, addsBos } = context.tokenizer;
    const all = await targets(context, [rows.text]);
    expect(all[0]!.endsWith(`writes${eosToken}`)).toBe(true);
    for (const row of [rows.prompt_completion, rows.alpaca]) {
      expect((await targets(context, [row]))[0]!.trimStart()).toBe(`Ada writes${eosToken}`);
      const { samples } = await read(context, [row]);
      expect(samples[0]!.ids[0] === bosId).toBe(addsBos);
    }
    const closed = { prompt: "Q", completion: ` A${eosToken}` };
    const { samples } = await read(context, [closed]);
    expect([...samples[0]!.ids].filter((id) => id === context.tokenizer.eosId)).toHaveLength(1);
  });

  it("trap 4: tokenises prompt and completion as one text; a token across the border is a target", async () => {
    const context = open("chatml");
    const whole = context.tokenizer.encode("the model");
    const { samples } = await read(context, [{ prompt: "the mo", completion: "del" }]);
    expect([...samples[0]!.ids].slice(0, -1)).toEqual(whole);
    expect(context.tokenizer.encode("the mo").length + context.tokenizer.encode("del").length).toBeGreaterThan(
      whole.length,
    );
    expect(await targets(context, [{ prompt: "the mo", completion: "del" }])).toEqual([" model<|im_end|>"]);
  });

  it("writes Alpaca's prompt, with and without an input", async () => {
    const context = open("llama3");
    const { samples } = await read(context, [rows.alpaca, { ...rows.alpaca, input: "Zürich" }]);
    const [bare, full] = samples.map(({ ids }) => context.tokenizer.decode(ids));
    expect(bare).toBe(
      "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\nWho?\n\n### Response:\nAda writes",
    );
    expect(full).toContain("further context. Write");
    expect(full).toContain("### Input:\nZürich\n\n### Response:\nAda writes");
  });

  it("never supervises the first token", async () => {
    for (const name of ["llama2", "llama3", "chatml"]) {
      const { samples } = await read(open(name), [rows.text]);
      expect(samples[0]!.supervised[0]).toBe(0);
      expect(samples[0]!.supervised.length).toBe(samples[0]!.ids.length);
    }
  });
});

describe("lengths", () => {
  const long = { prompt: "p", completion: " Ada".repeat(20) };
  const far = { prompt: "p ".repeat(30), completion: "Ada" };
  const short = { prompt: "p", completion: " Ada" };

  it("truncates, and counts rows whose targets are gone as left out", async () => {
    const { samples, report } = await read(open("chatml"), [long, far, short], { maxSeqLen: 10 });
    expect(samples.map((s) => [s.index, s.ids.length <= 10])).toEqual([
      [0, true],
      [2, true],
    ]);
    expect(samples[0]!.ids.length).toBe(10);
    expect([report.rows, report.truncated]).toEqual([3, 1]);
    expect(report.dropped).toEqual([{ index: 1, line: 2, reason: "no target within max_seq_len 10" }]);
    const said = describeDataset({ samples, report }).join("\n");
    expect(said).toMatch(/2 of 3 rows, format prompt_completion, loss on completion/);
    expect(said).toMatch(/1 rows cut to max_seq_len[\s\S]*left out 1: no target within max_seq_len 10 \(line 2\)/);
  });

  it("skips or fails, as asked", async () => {
    const { samples, report } = await read(open("chatml"), [long, short], { maxSeqLen: 10, onOverflow: "skip" });
    expect([samples.length, report.truncated, report.dropped.length]).toEqual([1, 0, 1]);
    const failing = read(open("chatml"), [short, long], { maxSeqLen: 10, onOverflow: "fail" });
    await expect(failing).rejects.toThrow(/rows.jsonl:2: the row has \d+ tokens, more than max_seq_len 10/);
  });

  it("trap 5: refuses a dataset with every label masked, naming the rows", async () => {
    await expect(read(open("chatml"), [far, far], { maxSeqLen: 5 })).rejects.toThrow(
      /nothing to train on; of 2 rows[\s\S]*rows.jsonl:1: no target[\s\S]*rows.jsonl:2: no target/,
    );
    const unlearned = { messages: [turn("user", "Hi"), { ...turn("assistant", "Ada writes."), weight: 0 }] };
    await expect(read(open("chatml"), [conversation, unlearned])).rejects.toThrow(
      "rows.jsonl:2: no target: every token is masked",
    );
  });
});

describe("broken rows", () => {
  const good = JSON.stringify(conversation);
  const withAnswer = (content: unknown) => ({ messages: [turn("user", "Hi"), { role: "assistant", content }] });

  it.each([
    ["broken line", '{"messages": [', /rows.jsonl:2: not JSON/],
    [
      "empty assistant turn",
      JSON.stringify(withAnswer("  ")),
      /rows.jsonl:2: messages\[1\].content: empty assistant turn/,
    ],
    ["content that is a number", JSON.stringify(withAnswer(3)), /content must be a string, not number/],
    ["no content", JSON.stringify(withAnswer(undefined)), /content is missing/],
    ["an image", JSON.stringify(withAnswer([{ type: "image_url" }])), /part of type "image_url"/],
    ["no assistant", JSON.stringify({ messages: [turn("user", "Hi")] }), /has no assistant turn; its roles are user/],
    ["other keys", '{"promt": "a"}', /rows.jsonl:2: its keys are promt; expected messages, like the rows before it/],
    ["an answer to nothing", JSON.stringify({ messages: [turn("assistant", "Hi")] }), /begins with an assistant turn/],
    [
      "half a surrogate pair",
      '{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"\\ud800"}]}',
      /half a surrogate/,
    ],
  ])("%s: file and line, or counted", async (_, line, message) => {
    const file = () => bytes(`${good}\n${line}\n${good}`);
    await expect(loadDataset(file(), open("chatml"), { name: "rows.jsonl" })).rejects.toThrow(message);
    const { samples, report } = await loadDataset(file(), open("chatml"), { name: "rows.jsonl", onError: "skip" });
    expect(samples.map((s) => s.index)).toEqual([0, 2]);
    expect(report.dropped.map((d) => [d.index, d.line])).toEqual([[1, 2]]);
  });

  it("says what formats there are, and refuses loss on what a format has not", async () => {
    await expect(read(open("chatml"), [{ promt: "a", completion: "b" }])).rejects.toThrow(
      /did you mean prompt\?.*"text"/,
    );
    await expect(read(open("chatml"), [{ text: "a" }], { trainOn: "last" })).rejects.toThrow(
      /train_on: 'last' does not fit/,
    );
    await expect(read(open("chatml"), [{ text: "a" }], { format: "alpaca" })).rejects.toThrow(/as data.format says/);
    const { tokenizer } = open("chatml");
    await expect(read({ tokenizer }, [conversation])).rejects.toThrow(/rows of messages need one/);
  });
});

it("reads a row of thousands of turns in time that grows with them alone", async () => {
  const messages = Array.from({ length: 6000 }, (_, i) => turn(i % 2 ? "assistant" : "user", `Number ${i}.`));
  const context = open("chatml");
  const { samples } = await read(context, [{ messages }], { maxSeqLen: 1e6 });
  const [{ ids, supervised }] = samples as [(typeof samples)[0]];
  const ends = [...ids].filter((id, i) => supervised[i] && id === context.tokenizer.eosId);
  expect(ends).toHaveLength(3000);
}, 30_000); // a second or two; what grows with the square of the turns takes minutes

it("encodes thousands of rows, and a long one, without holding the event loop", async () => {
  const context = open("chatml");
  // CPU time between two turns of the loop: time in which others had the processor does not count.
  const cpu = () => process.cpuUsage().user / 1000;
  let longest = 0;
  let last = cpu();
  const timer = setInterval(() => {
    longest = Math.max(longest, cpu() - last);
    last = cpu();
  }, 1);
  const { samples } = await read(context, new Array(2000).fill(conversation));
  const long = await read(context, [{ text: "Ada reads the river. ".repeat(20000) }], { maxSeqLen: 1e6 });
  clearInterval(timer);
  expect(samples).toHaveLength(2000);
  expect(long.samples[0]!.ids.length).toBeGreaterThan(60000);
  expect(longest).toBeLessThan(100); // about 20 ms on an idle machine; in one piece the long row takes over 300
});
