import OpenAI from "openai";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type HttpServer, serveHttp } from "../../src/node/http-server.js";
import { generate } from "../../src/node/index.js";
import { createAdapterRegistry } from "../../src/recipes/adapter-registry.js";
import { createServer } from "../../src/server/index.js";
import { type Tiny, tiny } from "./tiny.js";

const messages = [{ role: "user" as const, content: "Where does Ada live?" }];
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

/** Equal but for the last bits of numbers: a prompt that is remembered adds up in another order than one that is read anew. */
function near(value: unknown, wanted: unknown): boolean {
  if (typeof value === "number") return Math.abs(value - (wanted as number)) < 1e-3;
  if (value === null || typeof value !== "object") return value === wanted;
  const [keys, others] = [Object.keys(value), Object.keys(wanted as object)];
  const at = (of: unknown, key: string) => (of as Record<string, unknown>)[key];
  return keys.join() === others.join() && keys.every((key) => near(at(value, key), at(wanted, key)));
}
const ask = { model: "tiny", messages, temperature: 0, max_tokens: 10 };

it("chat: each token's log probability and the likeliest of its place, whole and streamed alike", async () => {
  const { choices } = await client.chat.completions.create({ ...ask, logprobs: true, top_logprobs: 3 });
  const content = choices[0]!.logprobs!.content!;
  expect(content.map(({ token }) => token).join("")).toBe(choices[0]!.message.content);
  for (const { token, bytes, logprob, top_logprobs: top } of content) {
    expect(new TextDecoder().decode(Uint8Array.from(bytes!))).toBe(token);
    expect(top).toHaveLength(3);
    expect(top[0]).toEqual({ token, bytes, logprob }); // greedy: the likeliest
    expect(top[0]!.logprob).toBeGreaterThanOrEqual(top[1]!.logprob);
    expect(top.reduce((sum, one) => sum + Math.exp(one.logprob), 0)).toBeLessThanOrEqual(1 + 1e-6);
  }
  const streamed: unknown[] = [];
  for await (const { choices } of await client.chat.completions.create({
    ...ask,
    logprobs: true,
    top_logprobs: 3,
    stream: true,
  })) {
    streamed.push(...(choices[0]!.logprobs?.content ?? []));
  }
  expect(near(streamed, content)).toBe(true);
  const without = await client.chat.completions.create(ask);
  expect(without.choices[0]!.logprobs).toBeNull();
  expect(without.choices[0]!.message.content).toBe(choices[0]!.message.content);
});

it("they are the model's own: temperature, penalties and what was drawn do not change them", async () => {
  const first = async (more: object) => {
    const reply = await client.chat.completions.create({
      ...ask,
      max_tokens: 1,
      logprobs: true,
      top_logprobs: 2,
      ...more,
    });
    return reply.choices[0]!.logprobs!.content![0]!.top_logprobs;
  };
  const plain = await first({});
  expect(near(await first({ temperature: 2, seed: 5 }), plain)).toBe(true);
  expect(near(await first({ presence_penalty: 2, repetition_penalty: 3 }), plain)).toBe(true);
  expect(near(await first({ model: "a" }), plain)).toBe(false);
});

it("completions: OpenAI's older shape", async () => {
  const { choices } = await client.completions.create({
    model: "tiny",
    prompt: "Ada",
    max_tokens: 6,
    temperature: 0,
    logprobs: 2,
  });
  const { text, logprobs } = choices[0]!;
  const { tokens, token_logprobs, top_logprobs, text_offset } = logprobs!;
  expect(tokens!.join("")).toBe(text);
  expect(text_offset!.map((at, i) => text.slice(at, at + tokens![i]!.length))).toEqual(tokens);
  for (const [i, top] of top_logprobs!.entries()) {
    expect(Object.keys(top)).toHaveLength(2);
    expect(top[tokens![i]!]).toBe(token_logprobs![i]);
  }
});

it("tokens that a stop string cuts off have no log probabilities", async () => {
  const whole = await client.chat.completions.create(ask);
  const text = whole.choices[0]!.message.content!;
  const { choices } = await client.chat.completions.create({ ...ask, logprobs: true, stop: text.slice(4, 7) });
  const joined = choices[0]!.logprobs!.content!.map(({ token }) => token).join("");
  expect(joined.startsWith(choices[0]!.message.content!)).toBe(true);
  expect(choices[0]!.message.content).toBe(text.slice(0, text.indexOf(text.slice(4, 7))));
  expect(joined.length).toBeLessThan(text.length);
});

it("the recipe gives them too: n answers by the server are its answers", async () => {
  const run = await generate(t.model, { messages }, { maxNewTokens: 5, logprobs: 0, temperature: 1, seed: 8 }).result();
  expect(run.logprobs!.map(({ token }) => token).join("")).toBe(run.text);
  const { choices } = await client.chat.completions.create({
    ...ask,
    max_tokens: 5,
    temperature: 1,
    seed: 7,
    n: 2,
    logprobs: true,
  });
  const logprobs = (tokens: readonly { logprob: number }[]) => tokens.map(({ logprob }) => logprob);
  expect(near(logprobs(choices[1]!.logprobs!.content!), logprobs(run.logprobs!))).toBe(true);
});

it("response_format json_object: whatever the model would say, in however few tokens, the answer parses", async () => {
  const json = { response_format: { type: "json_object" as const } };
  for (const [model, temperature, max_tokens, seed] of [
    ["tiny", 0, 40, 1],
    ["tiny", 1, 40, 2],
    ["a", 1.5, 25, 3],
    ["a", 0.7, 2, 4],
    ["a", 2, 7, 5],
  ] as const) {
    const reply = await client.chat.completions.create({ ...ask, ...json, model, temperature, max_tokens, seed, n: 2 });
    for (const { message, finish_reason } of reply.choices) {
      expect(JSON.parse(message.content!)).toBeTypeOf("object");
      expect(["stop", "length"]).toContain(finish_reason);
    }
  }
  let streamed = "";
  const stream = await client.completions.create({
    model: "tiny",
    prompt: "{",
    stream: true,
    max_tokens: 12,
    ...json,
  } as never);
  for await (const { choices } of stream as unknown as AsyncIterable<OpenAI.Completion>) streamed += choices[0]!.text;
  expect(JSON.parse(streamed)).toBeTypeOf("object");
});
