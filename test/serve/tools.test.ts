import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, stepCountIs, streamText, tool } from "ai";
import OpenAI from "openai";
import { zodFunction } from "openai/helpers/zod";
import { afterAll, beforeAll, expect, it } from "vitest";
import { z } from "zod";
import { loadDataset } from "../../src/data/dataset.js";
import { type HttpServer, serveHttp } from "../../src/node/http-server.js";
import { createAdapterRegistry } from "../../src/recipes/adapter-registry.js";
import { encodePrompt } from "../../src/recipes/generate.js";
import { createServer } from "../../src/server/index.js";
import { type Tiny, tiny } from "./tiny.js";

// The bundled tiny model knows nothing of tools: whatever is a call here is one because it is held to be.
const ferry = z.strictObject({ to: z.enum(["Kos", "Ios"]), seats: z.int().min(1).max(9) });
const note = z.strictObject({ text: z.string().max(6) });
const tools = [
  zodFunction({ name: "ferry", parameters: ferry, description: "Books a ferry" }),
  zodFunction({ name: "note", parameters: note }),
];
const shapes: Readonly<Record<string, z.ZodType>> = { ferry, note };
const messages = [{ role: "user" as const, content: "Two to Kos?" }];
let t: Tiny;
let http: HttpServer;
let client: OpenAI;
beforeAll(async () => {
  t = await tiny({ long: true });
  const registry = createAdapterRegistry(t.model);
  await registry.load("a", await t.adapter("a", 1));
  http = await serveHttp(createServer(registry, { baseId: "tiny", seed: 1 }).fetch, { port: 0 });
  client = new OpenAI({ baseURL: `${http.url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(async () => {
  await http.close();
  await t.dispose();
});

const ask = { messages, tools, temperature: 1, parallel_tool_calls: false };

it("required: one call that fits its schema, for base and adapter, also streamed; the same seed gives the same", async () => {
  const ids = new Set<string>();
  for (const [model, temperature] of [
    ["tiny", 1.3],
    ["a", 0],
  ] as const) {
    const asked = { ...ask, model, temperature, tool_choice: "required", seed: 3 } as const;
    const { choices } = await client.chat.completions.create(asked);
    for (const { message, finish_reason } of choices) {
      expect([message.content, finish_reason, message.tool_calls?.length]).toEqual([null, "tool_calls", 1]);
      const [call] = message.tool_calls as OpenAI.ChatCompletionMessageFunctionToolCall[];
      shapes[call!.function.name]!.parse(JSON.parse(call!.function.arguments));
      ids.add(call!.id);
    }
    const stream = client.chat.completions.stream(asked);
    const deltas: OpenAI.ChatCompletionChunk.Choice.Delta.ToolCall[] = [];
    stream.on("chunk", (chunk) => deltas.push(...(chunk.choices[0]!.delta.tool_calls ?? [])));
    const final = await stream.finalChatCompletion();
    const [whole] = final.choices[0]!.message.tool_calls!;
    expect(whole!.function).toMatchObject((choices[0]!.message.tool_calls![0] as { function: object }).function);
    expect(deltas[0]).toMatchObject({
      index: 0,
      id: whole!.id,
      type: "function",
      function: { name: whole!.function.name },
    });
    expect(deltas.length).toBeGreaterThan(3); // arguments come as they are made
    expect(deltas.slice(1).every(({ id, function: called }) => id === undefined && called!.name === undefined)).toBe(
      true,
    );
  }
  expect(ids.size).toBe(2);
});

it("a named tool, several calls, and every token limit that has room for one", async () => {
  const choice = { type: "function", function: { name: "note" } } as const;
  const reasons = new Set<string>();
  for (const max_tokens of [70, 110]) {
    for (const tool_choice of [choice, "required"] as const) {
      const { choices } = await client.chat.completions.create({
        ...ask,
        model: "tiny",
        parallel_tool_calls: true,
        tool_choice,
        max_tokens,
        seed: max_tokens,
        temperature: 1.5,
      });
      const calls = choices[0]!.message.tool_calls as OpenAI.ChatCompletionMessageFunctionToolCall[];
      if (tool_choice === choice) expect(calls.map((call) => call.function.name)).toEqual(["note"]);
      for (const { function: called } of calls) shapes[called.name]!.parse(JSON.parse(called.arguments));
      reasons.add(choices[0]!.finish_reason);
    }
  }
  expect(reasons).toContain("tool_calls");
  const none = client.chat.completions.create({ ...ask, model: "tiny", tool_choice: choice, max_tokens: 5 });
  await expect(none).rejects.toMatchObject({
    status: 400,
    message: expect.stringMatching(/tool_choice: 5 new tokens/),
  });
});

it("auto and none: words are words; results go back beside their calls", async () => {
  const plain = await client.chat.completions.create({ model: "tiny", messages, tools, temperature: 0, max_tokens: 8 });
  const none = await client.chat.completions.create({
    ...{ model: "tiny", messages, tools, temperature: 0, max_tokens: 8 },
    tool_choice: "none",
  });
  expect(plain.choices).toEqual(none.choices);
  expect(plain.choices[0]!.message.content!.length).toBeGreaterThan(0);
  const { choices } = await client.chat.completions.create({ ...ask, model: "tiny", tool_choice: "required", seed: 1 });
  const { message } = choices[0]!;
  const result = { role: "tool", tool_call_id: message.tool_calls![0]!.id, content: "9 o'clock" } as const;
  const after = await client.chat.completions.create({
    ...ask,
    model: "tiny",
    messages: [...messages, message, result],
  });
  expect(after.usage!.prompt_tokens).toBeGreaterThan(plain.usage!.prompt_tokens);
});

it("a request is the beginning of the row that teaches its answer, and the call is what is learned", async () => {
  const calls = [{ id: "1", type: "function", function: { name: "ferry", arguments: '{"to": "Kos", "seats": 2}' } }];
  const row = { messages: [...messages, { role: "assistant", content: null, tool_calls: calls }], tools };
  const context = { tokenizer: t.model.tokenizer, chat: () => t.model.chat() };
  const bytes = new TextEncoder().encode(JSON.stringify(row));
  const { samples } = await loadDataset([bytes], context, { name: "rows.jsonl", maxSeqLen: 2048 });
  const { ids, supervised } = samples[0]!;
  const { promptIds } = await encodePrompt(t.model, { messages, tools });
  expect([...ids].slice(0, promptIds.length)).toEqual([...promptIds]);
  const learned = ids.filter((_, i) => supervised[i] === 1);
  expect(learned.length).toBe(supervised.reduce((sum, flag) => sum + flag, 0));
  expect(t.model.tokenizer.decode(learned)).toBe(
    '<tool_call>\n{"name": "ferry", "arguments": {"to": "Kos", "seats": 2}}\n</tool_call>',
  );
  const { usage } = await client.chat.completions.create({ model: "tiny", messages, tools, max_tokens: 1 });
  expect(usage!.prompt_tokens).toBe(promptIds.length);
});

it("the Vercel AI SDK calls tools, hears of their results, and streams both", async () => {
  const provider = createOpenAICompatible({ name: "lowrank", baseURL: `${http.url}/v1` });
  const heard: unknown[] = [];
  const own = { ferry: tool({ inputSchema: ferry, execute: async (input) => `heard ${heard.push(input)}` }) };
  const asked = {
    model: provider("tiny"),
    messages,
    tools: own,
    seed: 2,
    maxOutputTokens: 120,
    prepareStep: ({ stepNumber }: { stepNumber: number }) =>
      ({ toolChoice: stepNumber === 0 ? "required" : "none" }) as const,
    stopWhen: stepCountIs(2),
  };
  const { steps } = await generateText(asked);
  expect(ferry.parse(heard[0])).toEqual(steps[0]!.toolCalls[0]!.input);
  expect(steps[1]!.text.length).toBeGreaterThan(0);
  const streamed = streamText(asked);
  await streamed.consumeStream();
  expect((await streamed.steps)[0]!.toolCalls[0]!.input).toEqual(heard[1]);
});
