import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type HttpServer, serveHttp } from "../../src/node/http-server.js";
import { createAdapterRegistry } from "../../src/recipes/adapter-registry.js";
import { encodePrompt } from "../../src/recipes/generate.js";
import { createServer } from "../../src/server/index.js";
import { type Tiny, tiny } from "./tiny.js";

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

const TEXT = "Ada lives in a town by the sea — with Bo, who is 36. What does Bo say of it? Nothing at all, he says";
/** Every token of it is a text of its own. */
const PLAIN = TEXT.replace("—", "-");
const ask = { model: "tiny", temperature: 0, max_tokens: 6 };

interface Tokens {
  readonly count: number;
  readonly tokens: readonly number[];
}

async function post(path: string, body: object): Promise<{ status: number; body: Tokens }> {
  const headers = { "content-type": "application/json" };
  const reply = await fetch(`${http.url}${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  return { status: reply.status, body: (await reply.json()) as Tokens };
}

describe("/tokenize and /detokenize", () => {
  it("give a model's own tokens, and the text back", async () => {
    const { tokenizer, resident } = t.model;
    const { body } = await post("/tokenize", { prompt: TEXT, return_token_strs: true });
    const ids = tokenizer.encode(TEXT);
    expect(body).toEqual({
      count: ids.length,
      max_model_len: resident.config.maxPositionEmbeddings,
      tokens: ids,
      token_strs: ids.map((id) => tokenizer.token(id)),
    });
    const bare = await post("/tokenize", { model: "a", prompt: TEXT, add_special_tokens: false });
    const back = await post("/detokenize", { model: "a", tokens: bare.body.tokens });
    expect(back.body).toEqual({ prompt: TEXT });
  });

  it("messages are what a chat reads", async () => {
    const messages = [{ role: "user" as const, content: "Where is Ada?" }];
    const { promptIds } = await encodePrompt(t.model, { messages });
    expect((await post("/tokenize", { model: "a", messages })).body.tokens).toEqual(promptIds);
    const closed = await post("/tokenize", { messages, add_generation_prompt: false });
    expect(closed.body.count).toBeLessThan(promptIds.length);
  });

  it.each([
    ["/tokenize", { model: "nobody", prompt: "x" }, 404, "model"],
    ["/tokenize", {}, 400, "prompt"],
    ["/tokenize", { prompt: "x", messages: [{ role: "user", content: "x" }] }, 400, "messages"],
    ["/detokenize", { tokens: [1, 99_999] }, 400, "tokens"],
  ])("%s refuses %j by name", async (path, body, status, param) => {
    expect(await post(path, body)).toMatchObject({ status, body: { error: { param } } });
  });
});

describe("prompts as token ids", () => {
  it("are continued as their text is, one and several", async () => {
    const ids = t.model.tokenizer.encode("Ada lives in");
    const text = await client.completions.create({ ...ask, prompt: "Ada lives in" });
    const one = await client.completions.create({ ...ask, prompt: ids });
    const two = await client.completions.create({ ...ask, prompt: [ids.slice(0, -1), ids] });
    expect(one.choices[0]!.text).toBe(text.choices[0]!.text);
    expect(two.choices.map(({ index }) => index)).toEqual([0, 1]);
    expect(two.choices[1]!.text).toBe(text.choices[0]!.text);
    expect(two.usage!.prompt_tokens).toBe(2 * ids.length - 1);
  });

  it("of another vocabulary, and lists of both kinds, are refused", async () => {
    for (const prompt of [[5, 99_999], [[5], "text"], [1.5], [[]], []]) {
      const asked = client.completions.create({ ...ask, prompt: prompt as never });
      await expect(asked, JSON.stringify(prompt)).rejects.toMatchObject({ status: 400, code: "invalid_value" });
    }
  });
});

describe("echo", () => {
  it("repeats the prompt before the answer, streamed too; text and ids alike", async () => {
    const { choices } = await client.completions.create({ ...ask, prompt: TEXT });
    const whole = TEXT + choices[0]!.text;
    const ids = t.model.tokenizer.encode(TEXT, { addSpecialTokens: false });
    for (const prompt of [TEXT, ids]) {
      const echoed = await client.completions.create({ ...ask, prompt, echo: true });
      expect(echoed.choices[0]!.text.startsWith(TEXT)).toBe(true);
      if (prompt === TEXT) expect(echoed.choices[0]!.text).toBe(whole);
      expect(echoed.usage!.completion_tokens).toBe(6);
    }
    let streamed = "";
    const stream = await client.completions.create({ ...ask, prompt: TEXT, echo: true, stream: true });
    for await (const chunk of stream) streamed += chunk.choices[0]!.text;
    expect(streamed).toBe(whole);
  });

  it("with logprobs: the prompt's tokens are what they were as an answer, and with max_tokens 0 all there is", async () => {
    for (const model of ["tiny", "a"]) {
      const answered = await client.completions.create({ ...ask, model, max_tokens: 20, prompt: PLAIN, logprobs: 2 });
      const { tokens, token_logprobs: chances, text_offset: offsets } = answered.choices[0]!.logprobs!;
      const prompt = [...t.model.tokenizer.encode(PLAIN), ...idsOf(tokens!)];
      const scored = await client.completions.create({ ...ask, model, prompt, echo: true, max_tokens: 0, logprobs: 2 });
      const { text, logprobs } = scored.choices[0]!;
      expect(scored.usage!.completion_tokens).toBe(0);
      expect(logprobs!.tokens).toHaveLength(prompt.length);
      expect([logprobs!.token_logprobs![0], logprobs!.top_logprobs![0]]).toEqual([null, null]);
      const tail = logprobs!.token_logprobs!.slice(-tokens!.length);
      for (const [i, chance] of tail.entries()) expect(Math.abs(chance - chances![i]!)).toBeLessThan(1e-4);
      expect(logprobs!.tokens!.join("")).toBe(text);
      expect(logprobs!.text_offset!.slice(-offsets!.length)).toEqual(
        offsets!.map((at) => at + text.length - lengthOf(tokens!)),
      );
    }
    const early = client.completions.create({ ...ask, prompt: TEXT, max_tokens: 0 });
    await expect(early).rejects.toMatchObject({ status: 400, param: "max_tokens" });
  });

  const lengthOf = (tokens: readonly string[]) => tokens.join("").length;
  const idsOf = (tokens: readonly string[]) =>
    tokens.map((token) => {
      for (let id = 0; id < t.model.tokenizer.vocabSize; id++) {
        if (new TextDecoder().decode(t.model.tokenizer.bytes(id)) === token) return id;
      }
      throw new Error(`no token '${token}'`);
    });
});

it("logit_bias asks for a token and forbids one; another vocabulary's is refused", async () => {
  const first = async (logit_bias: Record<string, number>) => {
    const reply = await client.completions.create({ ...ask, prompt: "Ada", max_tokens: 3, logprobs: 0, logit_bias });
    return reply.choices[0]!.logprobs!.tokens!;
  };
  const { tokenizer } = t.model;
  const wanted = tokenizer.encode("x", { addSpecialTokens: false })[0]!;
  const token = new TextDecoder().decode(tokenizer.bytes(wanted));
  expect(await first({ [wanted]: 100 })).toEqual([token, token, token]);
  const [usual] = await first({});
  const banned = await client.completions.create({ ...ask, prompt: "Ada", max_tokens: 1, logprobs: 5, seed: 1 });
  const id = [...Array(tokenizer.vocabSize).keys()].find(
    (one) => new TextDecoder().decode(tokenizer.bytes(one)) === usual,
  )!;
  expect((await first({ [id]: -100 }))[0]).not.toBe(usual);
  expect(banned.choices[0]!.logprobs!.tokens![0]).toBe(usual);
  await expect(first({ 99999: 1 })).rejects.toMatchObject({ status: 400, message: /logit_bias/ });
  await expect(first({ [wanted]: 101 })).rejects.toMatchObject({ status: 400, param: `logit_bias.${wanted}` });
});

it("suffix is refused by name", async () => {
  const asked = client.completions.create({ ...ask, prompt: "Ada", suffix: "." });
  await expect(asked).rejects.toMatchObject({ status: 400, param: "suffix", code: "unsupported_parameter" });
});
