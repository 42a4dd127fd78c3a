import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { createChatTemplate, directRunner } from "../tokenizers/chat-template.js";
import { createTokenizer } from "../tokenizers/tokenizer.js";
import { type DatasetContext, type DatasetOptions, loadDataset } from "./dataset.js";

const read = (path: string) => JSON.parse(readFileSync(new URL(path, import.meta.url), "utf8"));
const reference = read("fixtures/rows.json") as {
  template: string;
  rows: { name: string; row: Row; text: string; ids: number[]; completion?: string }[];
};
type Row = Record<string, unknown>;

function open(template: string): DatasetContext {
  const files = {
    tokenizerJson: read("../../test/reference/tokenizers/smollm2.json"),
    tokenizerConfig: { bos_token: "<|im_start|>", eos_token: "<|im_end|>" },
    chatTemplate: template,
  };
  const tokenizer = createTokenizer(files);
  return { tokenizer, chat: () => createChatTemplate(files, tokenizer, { runner: directRunner }) };
}
const context = open(reference.template);

const load = (rows: readonly (Row | string)[], options: Partial<DatasetOptions> = {}, by = context) => {
  const lines = rows.map((row) => (typeof row === "string" ? row : JSON.stringify(row)));
  return loadDataset([new TextEncoder().encode(lines.join("\n"))], by, { name: "rows.jsonl", ...options });
};
/** The targets of a row as text, "|" between those that are not neighbours. */
async function learned(row: Row, options: Partial<DatasetOptions> = {}, by = context): Promise<string> {
  const { samples } = await load([row], options, by);
  const { ids, supervised } = samples[0]!;
  const runs: number[][] = [];
  supervised.forEach((flag, i) => {
    if (flag && supervised[i - 1]) runs.at(-1)!.push(ids[i]!);
    else if (flag) runs.push([ids[i]!]);
  });
  return runs.map((run) => by.tokenizer.decode(run, { skipSpecialTokens: false })).join("|");
}
const notes = async (...rows: Row[]) => (await load(rows)).report.notes;

const user = (content: unknown, more = {}) => ({ role: "user", content, ...more });
const assistant = (content: unknown, more = {}) => ({ role: "assistant", content, ...more });
const [ask, reply] = [user("Next ferry?"), assistant("At nine.")];
const call = (more = {}) => ({
  type: "function",
  function: { name: "ferry", arguments: { island: "Texel" } },
  ...more,
});

describe("ids are those of transformers and TRL", () => {
  it.each(reference.rows)("$name", async ({ row, ids, completion }) => {
    const { samples, report } = await load([row], { trainOn: "all" });
    expect([...samples[0]!.ids]).toEqual(ids);
    expect(report.notes).toEqual(report.format === "alpaca" ? [expect.stringMatching(/^1 rows have system/)] : []);
    if (completion !== undefined) expect(await learned(row)).toBe(completion.trimEnd());
  });
});

describe("weight", () => {
  const twice = (first: unknown, second: unknown) => ({
    messages: [ask, assistant("At eight.", { weight: first }), ask, assistant("At nine.", { weight: second })],
  });

  it("0 takes a turn out of the loss, whatever it is taken on", async () => {
    expect(await learned(twice(0, 1))).toBe("At nine.<|im_end|>");
    expect(await learned(twice(1, 0))).toBe("At eight.<|im_end|>");
    expect(await learned(twice(null, undefined))).toBe("At eight.<|im_end|>|At nine.<|im_end|>");
    await expect(learned(twice(1, 0), { trainOn: "last" })).rejects.toThrow(/rows.jsonl:1: no target/);
    await expect(learned(twice(0, 0))).rejects.toThrow(/rows.jsonl:1: no target/);
    const all = await learned(twice(0, 1), { trainOn: "all" });
    expect(all).toContain("Next ferry?<|im_end|>\n<|im_start|>assistant\n|");
    expect(all).not.toContain("At eight");
    expect(all).toContain("At nine.<|im_end|>");
  });

  it("0 is told by templates that mark what the assistant writes, too, and by ShareGPT turns", async () => {
    const marks = open(
      "{% for m in messages %}{{ m.role }}: {% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}{% endif %}\n{% endfor %}",
    );
    expect(await learned(twice(0, 1), {}, marks)).toBe("At nine.<|im_end|>");
    expect(await learned(twice(0, 1), { trainOn: "all" }, marks)).not.toContain("eight");
    const twoBlocks = open(
      "{% for m in messages %}{{ m.role }}: {% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% generation %}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}{% endif %}\n{% endfor %}",
    );
    expect(await learned(twice(1, 1), {}, twoBlocks)).toBe("At eight.<|im_end|>|At nine.<|im_end|>");
    await expect(learned(twice(0, 1), {}, twoBlocks)).rejects.toThrow(/marks 4 parts of 2 assistant turns/);
    const shared = {
      conversations: [
        { from: "human", value: "Hi" },
        { from: "gpt", value: "One", weight: 0 },
        { from: "human", value: "Hi" },
        { from: "gpt", value: "Two" },
      ],
    };
    expect(await learned(shared)).toBe("Two<|im_end|>");
  });

  it.each([2, 0.5, "0", true, -1])("%s is refused", async (weight) => {
    await expect(load([{ messages: [ask, assistant("x", { weight })] }])).rejects.toThrow(
      /rows.jsonl:1: messages\[1\].weight is .*expected 0 \(no loss\) or 1/,
    );
  });

  it("of a turn that is not the assistant's, and other systems' masks: refused", async () => {
    await expect(load([{ messages: [user("x", { weight: 1 }), reply] }])).rejects.toThrow(
      /weight is 1 on a turn of user/,
    );
    expect(await learned({ messages: [user("x", { weight: 0 }), reply] })).toBe("At nine.<|im_end|>");
    await expect(load([{ messages: [user("x", { weight: 0 }), reply] }], { trainOn: "all" })).rejects.toThrow(
      /message 0 is not the assistant's and has weight 0/,
    );
    for (const mask of ["loss", "train", "training", "train_detail"]) {
      await expect(load([{ messages: [ask, assistant("x", { [mask]: false })] }])).rejects.toThrow(
        new RegExp(`messages\\[1\\].${mask} is not read; .*"weight": 0`),
      );
    }
  });
});

describe("a prompt and a completion of messages", () => {
  const row = {
    prompt: [ask, assistant("At eight."), ask],
    completion: [reply, user("And back?"), assistant("At ten.")],
  };

  it("has the loss on the completion's answers; on the prompt's where that is asked for", async () => {
    expect(await learned(row)).toBe("At nine.<|im_end|>|At ten.<|im_end|>");
    expect(await learned(row, { trainOn: "last" })).toBe("At ten.<|im_end|>");
    expect(await learned(row, { trainOn: "assistant" })).toBe(
      "At eight.<|im_end|>|At nine.<|im_end|>|At ten.<|im_end|>",
    );
    expect(await learned({ ...row, system: "Be brief." })).toBe("At nine.<|im_end|>|At ten.<|im_end|>");
  });

  it.each([
    ["a text and a list", { prompt: "Hi", completion: [reply] }, /prompt is string and completion is a list/],
    ["a list and a text", { prompt: [ask], completion: "x" }, /prompt is a list and completion is string/],
    ["no answer", { prompt: [ask], completion: [{ role: "tool", content: "x" }] }, /completion has no assistant turn/],
    ["an empty completion", { prompt: [ask], completion: [] }, /completion has no assistant turn/],
    ["a bad turn", { prompt: [ask], completion: [3] }, /completion\[0\] must be an object, not number/],
  ])("%s: refused", async (_, bad, message) => {
    await expect(load([bad as Row])).rejects.toThrow(message);
  });
});

describe("Alpaca's system, history and tools", () => {
  const row = {
    instruction: "And back?",
    input: "",
    output: "At ten.",
    system: "Be brief.",
    history: [["Out?", "At nine."]],
  };

  it("make a conversation; the loss is on the output, or on all answers", async () => {
    expect(await learned(row)).toBe("At ten.<|im_end|>");
    expect(await learned(row, { trainOn: "assistant" })).toBe("At nine.<|im_end|>|At ten.<|im_end|>");
    expect(await notes(row, { ...row, system: "", history: [] })).toEqual([
      "1 rows have system, history or tools: they go through the chat template, the others into Alpaca's prompt",
    ]);
    const { samples } = await load([{ ...row, system: null, history: null }]);
    expect(context.tokenizer.decode(samples[0]!.ids)).toContain("### Response:\nAt ten.");
  });

  it.each([[["Out?"]], ["Out?"], [["Out?", 3]], [["Out?", null]], [["Out?", " "]], { a: 1 }, "x"])(
    "history %j: refused",
    async (history) => {
      await expect(
        load([{ ...row, history: typeof history === "object" && !Array.isArray(history) ? history : [history] }]),
      ).rejects.toThrow(/rows.jsonl:1: history/);
    },
  );
});

describe("no field is dropped without a word", () => {
  it("what nothing reads is named once, however many rows have it", async () => {
    const row = { messages: [ask, reply], id: 3, source: "web", text: "t", empty: "", none: null, list: [] };
    expect(await notes(row, row, { ...row, split: "train" })).toEqual([
      "fields of rows that nothing reads: id, source, text, split: not used",
    ]);
    const parts = [{ type: "output_text", text: "x", logprobs: [1] }];
    const shared = [
      { from: "human", value: "Hi", markdown: "y" },
      { from: "gpt", value: parts },
    ];
    expect(await notes({ conversations: shared, messages: null })).toEqual([
      "fields of rows that nothing reads: conversations[].value[].logprobs, conversations[].markdown: not used".replace(
        /(: )(\S+), (\S+?)(: not)/,
        "$1$3, $2$4",
      ),
    ]);
  });

  it("what the chat template does not read is named, and what it reads is not", async () => {
    const calls = {
      messages: [
        ask,
        assistant("Look:", { tool_calls: [call({ id: "1" })], reasoning: "hm" }),
        { role: "tool", content: "9", tool_call_id: "1" },
        reply,
      ],
      tools: [call()],
    };
    expect(await notes(calls)).toEqual([
      "fields that the chat template does not read: reasoning, tool_call_id: not used",
    ]);
    const plain = open("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}");
    expect((await load([calls], {}, plain)).report.notes).toEqual([
      "fields that the chat template does not read: reasoning, tool_call_id: not used",
    ]);
    const whole = open("{% for m in messages %}{{ m | tojson }}<|im_end|>\n{% endfor %}");
    expect((await load([calls], { trainOn: "all" }, whole)).report.notes).toEqual([
      "fields that the chat template does not read: tool_call_id: not used",
    ]);
  });

  it("messages that the chat template leaves out are named by role", async () => {
    const some = open(
      "{% for m in messages %}{% if m.role in ['user', 'assistant'] %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% elif m.role == 'tool' %}<|im_start|>tool\n{{ m.content | tojson }}<|im_end|>\n{% endif %}{% endfor %}",
    );
    const messages = [{ role: "developer", content: "Be brief." }, ask, { role: "tool", content: 'a "9"\n' }, reply];
    expect((await load([{ messages }], {}, some)).report.notes).toEqual([
      "what messages of these roles say is not in what the chat template writes: developer",
    ]);
  });

  it("a turn that only has a function_call is refused where the template writes none; tool_calls are written for it", async () => {
    const plain = open("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}");
    const turns = (fields: object) => ({ messages: [ask, { role: "assistant", content: null, ...fields }, reply] });
    await expect(load([turns({ function_call: { name: "ferry", arguments: "{}" } })], {}, plain)).rejects.toThrow(
      /rows.jsonl:1: message 1 says nothing but .*write the call as tool_calls/,
    );
    expect((await load([turns({ tool_calls: [call()] })], {}, plain)).report.rows).toBe(1);
  });

  it("arguments as text that a template quotes are told", async () => {
    const quoting = open(
      "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content or '' }}{% for c in m.tool_calls or [] %}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}<|im_end|>\n{% endfor %}",
    );
    const row = (args: unknown) => ({
      messages: [ask, assistant(null, { tool_calls: [{ function: { name: "ferry", arguments: args } }] }), reply],
    });
    expect((await load([row('{"a": 1}')], { format: "messages" }, quoting)).report.notes).toEqual([
      expect.stringMatching(/as JSON text.*quoted.*set data.format to openai_tools/),
    ]);
    const parsed = await load([row('{"a": 1}')], {}, quoting);
    expect(parsed.report).toMatchObject({ format: "openai_tools", notes: [] });
    expect(parsed.samples).toEqual((await load([row({ a: 1 })], {}, quoting)).samples);
    expect((await load([row({ a: 1 })], {}, quoting)).report.notes).toEqual([]);
  });

  const chat = { messages: [ask, reply] };
  it.each([
    ["functions", { ...chat, functions: [{ name: "f" }] }, /functions is what OpenAI had before tools/],
    ["images", { ...chat, images: ["a.png"] }, /images cannot be trained on/],
    ["documents", { ...chat, documents: [{ text: "a" }] }, /documents cannot be given/],
    ["chat_template_kwargs", { ...chat, chat_template_kwargs: { a: 1 } }, /chat_template_kwargs cannot be given/],
    ["system of a text prompt", { prompt: "a", completion: "b", system: "c" }, /system is read in rows of messages/],
    ["tools of a text", { text: "a b", tools: [call()] }, /tools is read in rows of messages/],
    [
      "history of a prompt",
      { prompt: "a", completion: "b", history: [["c", "d"]] },
      /history is read beside instruction/,
    ],
    [
      "two system prompts",
      { system: "a", messages: [{ role: "system", content: "b" }, ask, reply] },
      /system says one thing/,
    ],
    ["TRL's preferences", { prompt: "a", chosen: "b", rejected: "c" }, /preference row \(chosen and rejected\)/],
    ["preferences without a prompt", { chosen: [ask, reply], rejected: [ask, reply] }, /preference row/],
    ["OpenAI's preferences", { input: {}, preferred_output: [reply], non_preferred_output: [reply] }, /preference row/],
    [
      "KTO's label",
      { prompt: "a", completion: "b", label: false },
      /label with true or false makes it a preference row/,
    ],
    ["Alpaca's preferences", { instruction: "a", chosen: "b", rejected: "c" }, /preference row/],
    ["tools that are no list", { ...chat, tools: 3 }, /tools must be a list, not number/],
    ["tools of text", { ...chat, tools: ["ferry"] }, /tools\[0\] must be an object, not string/],
    [
      "tools as other text",
      { ...chat, tools: "ferry" },
      /tools must be a list, or JSON text of one, and its text is not JSON/,
    ],
    ["Python's lists", { ...chat, tools: "[{'name': 'ferry'}]" }, /Python's own notation/],
    ["deep tools", { ...chat, tools: "[".repeat(200000) + "]".repeat(200000) }, /nested deeper than 100 levels/],
    [
      "a refusal beside content",
      { messages: [ask, assistant("x", { refusal: "y" })] },
      /refusal stands beside content/,
    ],
    [
      "tool_calls that are no list",
      { messages: [ask, assistant("", { tool_calls: "x" })] },
      /tool_calls must be a list/,
    ],
    [
      "calls that are no objects",
      { messages: [ask, assistant("", { tool_calls: ["x"] })] },
      /tool_calls\[0\] must be an object/,
    ],
    [
      "an image in a part",
      { messages: [user([{ type: "image_url", image_url: {} }]), reply] },
      /only text can be trained on/,
    ],
    ["no content and no calls", { messages: [ask, assistant(null)] }, /messages\[1\].content is missing or null/],
    ["a null question", { messages: [user(null), reply] }, /messages\[0\].content is missing or null/],
    ["a null turn", { messages: [null, reply] }, /messages\[0\] must be an object, not null/],
    [
      "a role that is a number",
      { messages: [{ role: 1, content: "x" }, reply] },
      /messages\[0\].role must be a string/,
    ],
    ["no turns", { messages: [] }, /messages must be a list of turns/],
    ["too many turns", { messages: new Array(10001).fill(ask) }, /10001 turns; at most 10000 are read/],
  ])("%s: refused by name", async (_, row, message) => {
    await expect(load([row as Row])).rejects.toThrow(message);
    await expect(load([row as Row])).rejects.toThrow(/^rows\.jsonl:1: /);
  });
});

describe("names that objects have anyway", () => {
  it.each(["toString", "__proto__", "constructor", "hasOwnProperty", "", "narrator"])(
    "from %j: refused with the names that are read",
    async (from) => {
      const row = `{"conversations": [{"from": ${JSON.stringify(from)}, "value": "x"}, {"from": "gpt", "value": "y"}]}`;
      await expect(load([row])).rejects.toThrow(
        /rows.jsonl:1: conversations\[0\].from is .*expected one of human, user, gpt, .*observation.*function_call/,
      );
    },
  );

  it("are ordinary names of fields", async () => {
    const row =
      '{"__proto__": {"messages": 1}, "toString": 1, "messages": [{"role": "user", "content": "a", "__proto__": "b", "constructor": "c"}, {"role": "assistant", "content": "x"}]}';
    const { report } = await load([row]);
    expect(report.notes).toEqual([
      "fields of rows that nothing reads: __proto__, toString: not used",
      "fields that the chat template does not read: __proto__, constructor: not used",
    ]);
    await expect(load(['{"__proto__": {"text": "a"}}'])).rejects.toThrow(/its keys are __proto__; expected one of/);
  });

  it("an unknown key of a megabyte is not compared with the known ones", async () => {
    const began = performance.now();
    await expect(load([{ ["k".repeat(1 << 20)]: 1 }])).rejects.toThrow(/its keys are k{60}\.\.\.; expected/);
    expect(performance.now() - began).toBeLessThan(2000);
  });
});

describe("ShareGPT's calls", () => {
  const row = (value: unknown) => ({
    conversations: [
      { from: "human", value: "Ferry?" },
      { from: "function_call", value },
      { from: "observation", value: "9:00" },
      { from: "gpt", value: "At nine." },
    ],
  });
  it("may be several, and must be JSON of calls", async () => {
    const one = { name: "ferry", arguments: { island: "Texel" } };
    const written = '<call>{"name": "ferry", "arguments": {"island": "Texel"}}</call>';
    expect(await learned(row(JSON.stringify([one, one])))).toBe(`${written}${written}<|im_end|>|At nine.<|im_end|>`);
    await expect(load([row("ferry(Texel)")])).rejects.toThrow(/conversations\[1\].value must be JSON text of a call/);
    await expect(load([row('{"arguments": {}}')])).rejects.toThrow(/call 0: name must be a string, not missing/);
    await expect(load([row('{"name": "a", "arguments": {}, "id": 1}')])).rejects.toThrow(
      /a call has name and arguments, not id/,
    );
    await expect(load([row("[3]")])).rejects.toThrow(/call 0 must be an object, not number/);
  });
});

it("names a token that the model has no embedding of, where it is not cut off", async () => {
  const { tokenizer } = context;
  const highest = Math.max(...tokenizer.encode("a the model"));
  const model = { ...context, vocabSize: highest };
  const rows = [{ text: "a a" }, { text: "a the model" }];
  await expect(load(rows, {}, model)).rejects.toThrow(
    `rows.jsonl:2: its token ${JSON.stringify(tokenizer.token(highest))} has the id ${highest}, and the model's vocabulary ends at ${highest - 1}`,
  );
  expect((await load(rows, { maxSeqLen: 2 }, model)).samples).toHaveLength(2);
  expect((await load(rows, { onError: "skip" }, model)).report.dropped).toHaveLength(1);
  expect((await load(rows, {}, { ...context, vocabSize: highest + 1 })).samples).toHaveLength(2);
});
