import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, streamObject } from "ai";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { afterAll, beforeAll, expect, it } from "vitest";
import { z } from "zod";
import { type HttpServer, serveHttp } from "../../src/node/http-server.js";
import { createAdapterRegistry } from "../../src/recipes/adapter-registry.js";
import { createServer } from "../../src/server/index.js";
import { type Tiny, tiny } from "./tiny.js";

// The bundled tiny model knows nothing of JSON: whatever fits a schema here does so because it is held.
const messages = [{ role: "user" as const, content: "Where does Ada live?" }];
const person = z.strictObject({
  name: z.string().max(12),
  age: z.int().min(1).max(120),
  home: z.enum(["town", "country"]),
  pets: z.array(z.strictObject({ kind: z.string().regex(/^[a-z]{3}$/) })).max(2),
  note: z.string().max(9).nullable(),
});
let t: Tiny;
let http: HttpServer;
let client: OpenAI;
beforeAll(async () => {
  t = await tiny();
  const registry = createAdapterRegistry(t.model);
  await registry.load("a", await t.adapter("a", 1));
  http = await serveHttp(createServer(registry, { baseId: "tiny", seed: 1 }).fetch, { port: 0 });
  client = new OpenAI({ baseURL: `${http.url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(async () => {
  await http.close();
  await t.dispose();
});

it("openai: parse with a zod schema, for base and adapter, greedy and drawn; the same seed gives the same", async () => {
  const ask = { messages, response_format: zodResponseFormat(person, "person") };
  for (const [model, temperature] of [
    ["tiny", 0],
    ["tiny", 1.2],
    ["a", 1],
  ] as const) {
    const all = [1, 2].map(() => client.chat.completions.parse({ ...ask, model, temperature, seed: 5, n: 2 }));
    const [first, second] = await Promise.all(all);
    for (const { message, finish_reason } of first!.choices) {
      expect(finish_reason).toBe("stop");
      expect(person.parse(message.parsed)).toEqual(message.parsed);
    }
    expect(second!.choices).toEqual(first!.choices);
  }
});

it("the answer fits at every token limit that has room for one; finish_reason says that it was cut short", async () => {
  const response_format = {
    type: "json_schema" as const,
    json_schema: { name: "list", schema: z.toJSONSchema(z.array(z.string())) as Record<string, unknown> },
  };
  const reasons = new Set<string>();
  for (const max_tokens of [2, 3, 5, 9, 17]) {
    const { choices } = await client.chat.completions.create({
      model: "tiny",
      messages,
      response_format,
      max_tokens,
      temperature: 1.5,
      seed: max_tokens,
      n: 3,
    });
    for (const { message, finish_reason } of choices) {
      expect(z.array(z.string()).safeParse(JSON.parse(message.content!)).success, message.content!).toBe(true);
      reasons.add(finish_reason);
    }
  }
  expect(reasons).toContain("length");
  const none = client.chat.completions.create({ model: "tiny", messages, response_format, max_tokens: 1 });
  await expect(none).rejects.toMatchObject({
    status: 400,
    message: expect.stringMatching(/1 new tokens cannot hold it/),
  });
});

it("beside others that are not held, streamed, each answer is what it is alone", async () => {
  const ask = { model: "tiny", messages, temperature: 0, max_tokens: 60 };
  const response_format = zodResponseFormat(person, "person");
  const held = () => client.chat.completions.create({ ...ask, response_format });
  const plain = () => client.chat.completions.create(ask);
  const [alone, free] = [await held(), await plain()];
  const together = await Promise.all([held(), plain(), held(), plain()]);
  expect(together.map(({ choices }) => choices)).toEqual([alone.choices, free.choices, alone.choices, free.choices]);
  let streamed = "";
  for await (const { choices } of await client.chat.completions.create({ ...ask, response_format, stream: true }))
    streamed += choices[0]?.delta.content ?? "";
  expect(streamed).toBe(alone.choices[0]!.message.content);
});

it("completions take response_format too", async () => {
  const format = {
    type: "json_schema",
    json_schema: { name: "n", schema: { type: "integer", minimum: 3, maximum: 7 } },
  };
  const reply = await client.completions.create({
    model: "tiny",
    prompt: "3 + 4 =",
    max_tokens: 3,
    ...{ response_format: format },
  });
  expect(Number(reply.choices[0]!.text)).toBeGreaterThanOrEqual(3);
  expect(Number(reply.choices[0]!.text)).toBeLessThanOrEqual(7);
});

it("the Vercel AI SDK: generateObject and streamObject", async () => {
  const provider = createOpenAICompatible({
    name: "lowrank",
    baseURL: `${http.url}/v1`,
    supportsStructuredOutputs: true,
  });
  const ask = { model: provider("tiny"), schema: person, messages, temperature: 1, seed: 3 };
  const { object } = await generateObject(ask);
  expect(person.parse(object)).toEqual(object);
  const streamed = streamObject(ask);
  for await (const _ of streamed.partialObjectStream);
  expect(await streamed.object).toEqual(object);
});
