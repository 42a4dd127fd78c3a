import OpenAI, { APIUserAbortError } from "openai";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { Sequence } from "../../src/generation/decoder.js";
import { type HttpServer, serveHttp } from "../../src/node/http-server.js";
import { generate } from "../../src/node/index.js";
import { type AdapterRegistry, createAdapterRegistry } from "../../src/recipes/adapter-registry.js";
import { createServer, type RequestLog } from "../../src/server/index.js";
import { beforeFeeding, type Tiny, tiny } from "./tiny.js";

// The unmodified openai package against the bundled tiny model with two adapters of random numbers.
const messages = [{ role: "user" as const, content: "Where does Ada live?" }];
const KEY = "test-key";
const logs: RequestLog[] = [];
const failures: unknown[] = [];
let t: Tiny;
let registry: AdapterRegistry;
let http: HttpServer;
let client: OpenAI;

beforeAll(async () => {
  t = await tiny();
  registry = createAdapterRegistry(t.model);
  await registry.load("a", await t.adapter("a", 1));
  await registry.load("b", await t.adapter("b", 2));
  const server = createServer(registry, {
    apiKey: KEY,
    baseId: "tiny",
    limits: { slots: 2, maxTokens: 200 },
    seed: 1,
    onRequest: (log) => logs.push(log),
    onError: (error) => failures.push(error),
  });
  http = await serveHttp(server.fetch, { port: 0 });
  client = new OpenAI({ baseURL: `${http.url}/v1`, apiKey: KEY, maxRetries: 0 });
});
afterAll(async () => {
  await http.close();
  await t.dispose();
});

/** What the recipe answers: the server must say the same. */
async function expected(adapter: string | undefined, maxNewTokens = 12) {
  const lease = adapter === undefined ? undefined : registry.lease(adapter);
  const result = await generate(t.model, { messages }, { maxNewTokens, adapter: lease?.adapter }).result();
  lease?.release();
  return result;
}
const ask = { messages, temperature: 0, max_tokens: 12 };

describe("the openai package", () => {
  it("lists the base and its adapters", async () => {
    const ids = [];
    for await (const { id } of client.models.list()) ids.push(id);
    expect(ids).toEqual(["tiny", "a", "b"]);
    const { headers } = await fetch(`${http.url}/health`);
    expect(headers.get("keep-alive")).toBe("timeout=65"); // longer than clients and proxies keep a connection
    expect(await client.models.retrieve("a")).toMatchObject({ id: "a", object: "model", parent: "tiny" });
    await expect(client.models.retrieve("c")).rejects.toMatchObject({ status: 404, code: "model_not_found" });
  });

  it("chats with the base and with each adapter: the same tokens as the recipe, one after the other and all at once", async () => {
    const wanted = await Promise.all([undefined, "a", "b"].map((name) => expected(name)));
    expect(new Set(wanted.map(({ text }) => text)).size).toBe(3);
    const say = (model: string) => client.chat.completions.create({ model, ...ask });
    for (const replies of [
      [await say("tiny"), await say("a"), await say("b")],
      await Promise.all(["tiny", "a", "b"].map(say)),
    ]) {
      for (const [i, reply] of replies.entries()) {
        const { text, promptIds, tokenIds, finishReason } = wanted[i]!;
        expect(reply.choices[0]).toMatchObject({
          message: { role: "assistant", content: text },
          finish_reason: finishReason,
        });
        expect(reply.usage).toEqual({
          prompt_tokens: promptIds.length,
          completion_tokens: tokenIds.length,
          total_tokens: promptIds.length + tokenIds.length,
        });
      }
    }
  });

  it("takes back what it answered: the returned message is sent again, as it came", async () => {
    const first = await client.chat.completions.create({ model: "a", ...ask });
    const history: OpenAI.ChatCompletionMessageParam[] = [
      ...messages,
      first.choices[0]!.message,
      { role: "user", content: [{ type: "text", text: "And Bo?" }] },
    ];
    const second = await client.chat.completions.create({ model: "a", ...ask, messages: history });
    history.push(second.choices[0]!.message, { role: "user", content: "Why?" });
    const third = await client.chat.completions.create({
      model: "a",
      ...ask,
      messages: history,
      tools: [],
      tool_choice: "none",
      store: false,
      metadata: { team: "a" },
      stop: [],
    });
    const plain = history.map(({ role, content }) => ({
      role,
      content: typeof content === "string" ? content : "And Bo?",
    }));
    const lease = registry.lease("a");
    const wanted = await generate(t.model, { messages: plain }, { maxNewTokens: 12, adapter: lease.adapter }).result();
    lease.release();
    expect(third.choices[0]!.message.content).toBe(wanted.text);
  });

  it("streams, with usage when asked", async () => {
    const { text, tokenIds } = await expected("a");
    const stream = await client.chat.completions.create({
      model: "a",
      ...ask,
      stream: true,
      stream_options: { include_usage: true },
    });
    let got = "";
    const [reasons, usages]: [unknown[], unknown[]] = [[], []];
    for await (const { choices, usage } of stream) {
      got += choices[0]?.delta.content ?? "";
      if (choices[0]?.finish_reason) reasons.push(choices[0].finish_reason);
      if (usage) usages.push(usage.completion_tokens);
    }
    expect(got).toBe(text);
    expect(reasons).toHaveLength(1);
    expect(usages).toEqual([tokenIds.length]);
  });

  it("completes raw prompts, many at once, n answers each", async () => {
    const { choices } = await client.completions.create({
      model: "a",
      prompt: ["Ada", "Bo"],
      n: 2,
      max_tokens: 4,
      temperature: 1,
      seed: 3,
    });
    expect(choices.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    const one = await client.completions.create({ model: "a", prompt: "Ada", max_tokens: 4, temperature: 1, seed: 3 });
    expect(one.choices[0]!.text).toBe(choices[0]!.text);
    const lease = registry.lease("a");
    const options = { maxNewTokens: 4, temperature: 1, seed: 3, adapter: lease.adapter };
    expect((await generate(t.model, { prompt: "Ada" }, options).result()).text).toBe(choices[0]!.text);
    lease.release();
  });

  it("stops before a stop string, streamed or not, and scales an adapter for one request", async () => {
    const { text } = await expected(undefined);
    const stop = text.slice(3, 6);
    const short = await client.chat.completions.create({ model: "tiny", ...ask, stop });
    expect(short.choices[0]).toMatchObject({
      message: { content: text.slice(0, text.indexOf(stop)) },
      finish_reason: "stop",
    });
    let streamed = "";
    for await (const { choices } of await client.chat.completions.create({
      model: "tiny",
      ...ask,
      stop: [stop],
      stream: true,
    })) {
      streamed += choices[0]!.delta.content ?? "";
    }
    expect(streamed).toBe(text.slice(0, text.indexOf(stop)));
    const bare = await client.chat.completions.create({ model: "a", ...ask, adapter_scale: 0 } as typeof ask & {
      model: string;
    });
    expect(bare.choices[0]!.message.content).toBe(text);
  });

  it("a request without a seed draws another one each time; the same seed gives the same text", async () => {
    const say = async (seed?: number) =>
      (await client.chat.completions.create({ model: "a", ...ask, temperature: 1.5, seed })).choices[0]!.message
        .content;
    expect(new Set([await say(), await say(), await say(), await say()]).size).toBeGreaterThan(1);
    expect(await say(7)).toBe(await say(7));
  });

  it("errors have OpenAI's shape and name the field", async () => {
    const bad = (body: object) => client.chat.completions.create({ model: "a", ...ask, ...body } as never);
    const cases: [object, object][] = [
      [
        { model: "tinny" },
        {
          status: 404,
          code: "model_not_found",
          param: "model",
          error: expect.objectContaining({
            message: "model: 'tinny' is not served; served are tiny, a, b. Did you mean 'tiny'?",
          }),
        },
      ],
      [
        { model: "something-else" },
        { status: 404, error: expect.objectContaining({ message: expect.stringMatching(/served are tiny, a, b$/) }) },
      ],
      [{ temperature: 9 }, { status: 400, param: "temperature" }],
      [{ n: 1e9 }, { status: 400, param: "n" }],
      [{ logprobs: 3 }, { status: 400, param: "logprobs" }],
      [{ top_logprobs: 3 }, { status: 400, param: "top_logprobs" }],
      [
        { logprobs: true, top_logprobs: 21 },
        { status: 400, param: "top_logprobs" },
      ],
      [
        { response_format: { type: "json_schema", json_schema: { name: "x", schema: { not: {} } } } },
        { status: 400, message: expect.stringContaining("json_schema.schema: 'not' cannot be held") },
      ],
      [{ response_format: { type: "json_object" }, max_tokens: 1 }, { status: 400 }],
      [{ tools: [{ type: "function" }] }, { status: 400, param: "tools[0].function" }],
      [{ messages: [] }, { status: 400, param: "messages" }],
      [{ top_kk: 3 }, { status: 400, message: expect.stringContaining("did you mean 'top_k'?") }],
      [
        { messages: [{ role: "user", content: "long ".repeat(9000) }] },
        {
          status: 400,
          code: "context_length_exceeded",
          message: expect.stringMatching(/the prompt has .*tokens; the/),
        },
      ],
      [{ stream: true, messages: [{ role: "user", content: "long ".repeat(9000) }] }, { status: 400 }],
    ];
    for (const [body, error] of cases)
      await expect(bad(body), JSON.stringify(body).slice(0, 80)).rejects.toMatchObject(error);
    const foreign = new OpenAI({ baseURL: `${http.url}/v1`, apiKey: "wrong", maxRetries: 0 });
    await expect(foreign.models.list()).rejects.toMatchObject({ status: 401, code: "invalid_api_key" });
  });
});

describe("sharing one device", () => {
  it("requests that run at the same time take turns token by token", async () => {
    const order: unknown[] = [];
    beforeFeeding(({ adapter }) => order.push(adapter));
    const request = { ...ask, max_tokens: 60, temperature: 2, seed: 5 };
    await Promise.all(["a", "b"].map((model) => client.chat.completions.create({ ...request, model })));
    const turns = order.filter((who, i) => who !== order[i - 1]).length;
    expect(turns).toBeGreaterThan(6);
  });

  it("prompts are fed one at a time, however many come: no answer waits for all of them", async () => {
    let [fed, most] = [0, 0];
    const { feed } = Sequence.prototype;
    Sequence.prototype.feed = async function (this: Sequence, ids, ...more) {
      const one = ids.length > 1 ? 1 : 0;
      most = Math.max(most, (fed += one));
      return feed.call(this, ids, ...more).finally(() => (fed -= one));
    };
    onTestFinished(() => {
      Sequence.prototype.feed = feed;
    });
    const prompts = ["Bo sees Cy.", "Cy sees Ada."];
    await Promise.all(prompts.map((prompt) => client.completions.create({ model: "a", prompt, max_tokens: 4 })));
    await client.embeddings.create({ model: "a", input: prompts });
    expect(most).toBe(1);
  });

  it("answers of one request are made side by side while slots are free, each as if alone", async () => {
    const request = { model: "a", ...ask, n: 3, temperature: 1.2, seed: 11 };
    const order: number[] = [];
    const texts = ["", "", ""];
    for await (const { choices } of await client.chat.completions.create({ ...request, stream: true })) {
      const { index, delta } = choices[0]!;
      order.push(index);
      texts[index] += delta.content ?? "";
    }
    expect(order.indexOf(1)).toBeLessThan(order.lastIndexOf(0)); // two slots: the second beside the first
    expect(order.indexOf(2)).toBeGreaterThan(Math.min(order.lastIndexOf(0), order.lastIndexOf(1)));
    for (const [i, text] of texts.entries()) {
      const one = await client.chat.completions.create({ ...request, n: 1, seed: 11 + i });
      expect(one.choices[0]!.message.content).toBe(text);
    }
  });

  it("a client that leaves frees its slot and its memory at once", async () => {
    const { device } = t.model.resident;
    const held = async () => (await device.memory()).buffers - t.model.decoder.prefixes.bytes;
    const before = await held();
    const start = async () => {
      const stream = await client.completions.create({
        model: "a",
        prompt: "Ada",
        max_tokens: 200,
        temperature: 2,
        stream: true,
      });
      await stream[Symbol.asyncIterator]().next();
      return stream;
    };
    for (let round = 0; round < 5; round++) {
      const streams = await Promise.all([start(), start()]);
      for (const stream of streams) stream.controller.abort();
    }
    const { usage } = await client.completions.create({ model: "b", prompt: "Ada", max_tokens: 1 });
    expect(usage!.completion_tokens).toBeLessThanOrEqual(1);
    await expect.poll(held, { timeout: 10_000 }).toBe(before);
    const page = await (await fetch(`${http.url}/metrics`, { headers: { authorization: `Bearer ${KEY}` } })).text();
    expect(page).toContain("lowrank_active_requests 0\n");
    expect(page).toContain("lowrank_waiting_requests 0\n");
    expect(page).toMatch(/lowrank_completion_tokens_total\{model="a"\} \d/);
  });

  it("a client that leaves before its answer is logged as gone, and is no failure of the server", async () => {
    logs.length = 0;
    const control = new AbortController();
    let fed = 0;
    beforeFeeding(async () => {
      if (++fed === 4) control.abort();
      if (fed > 4) await new Promise((resolve) => setTimeout(resolve, 5)); // time to notice it
    });
    const body = { model: "a", prompt: "Ada", max_tokens: 200, temperature: 2, seed: 1, n: 4 };
    const reply = client.completions.create(body, { signal: control.signal });
    await expect(reply).rejects.toBeInstanceOf(APIUserAbortError);
    await expect.poll(() => logs.map(({ status }) => status), { timeout: 10_000 }).toEqual([499]);
    expect(failures).toEqual([]);
  });

  it("every reply has an x-request-id, the client's own where it is plain; the log has it too", async () => {
    logs.length = 0;
    const headers = { authorization: `Bearer ${KEY}` };
    const get = (path: string, more: Record<string, string> = {}) =>
      fetch(`${http.url}${path}`, { headers: { ...headers, ...more } });
    const own = await get("/v1/models", { "x-request-id": "job-7:a" });
    expect(own.headers.get("x-request-id")).toBe("job-7:a");
    const bad = await get("/v1/models", { "x-request-id": "\u001b[31m red" }).catch(() => undefined);
    const replies = [await get("/v1/models"), await get("/nowhere"), await get("/v1/models", { authorization: "" })];
    if (bad) replies.push(bad);
    const ids = replies.map((reply) => reply.headers.get("x-request-id")!);
    for (const id of ids) expect(id).toMatch(/^req-[0-9a-z]+$/);
    expect(new Set(ids).size).toBe(ids.length);
    expect(await replies[1]!.json()).toMatchObject({ error: { code: "unknown_url" } });
    const body = { model: "a", ...ask };
    const { data, request_id } = await client.chat.completions.create({ ...body, stream: true }).withResponse();
    for await (const _ of data);
    expect(request_id).toMatch(/^req-/);
    await expect.poll(() => logs.map(({ id }) => id)).toEqual(expect.arrayContaining(["job-7:a", ...ids, request_id]));
  });

  it("/health says that the server lives, to anybody who may call it, by GET and HEAD", async () => {
    const reply = await fetch(`${http.url}/health`);
    expect([reply.status, await reply.json()]).toEqual([200, { status: "ok" }]);
    const head = await fetch(`${http.url}/health`, { method: "HEAD" });
    expect([head.status, await head.text()]).toEqual([200, ""]);
    expect((await fetch(`${http.url}/health/x`)).status).toBe(401);
    expect((await fetch(`${http.url}/health`, { headers: { origin: "https://evil.example" } })).status).toBe(403);
  });

  it("logs say what happened, never what was said", async () => {
    logs.length = 0;
    await client.chat.completions.create({ model: "a", ...ask });
    await expect.poll(() => logs.length, { timeout: 10_000 }).toBe(1);
    expect(logs[0]).toMatchObject({
      route: "/v1/chat/completions",
      status: 200,
      model: "a",
      completionTokens: expect.any(Number),
    });
    expect(JSON.stringify(logs)).not.toMatch(/Ada|live/);
  });
});
