import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { type HttpServer, serveHttp } from "../../src/node/http-server.js";
import { generate } from "../../src/node/index.js";
import { createAdapterRegistry } from "../../src/recipes/adapter-registry.js";
import { createServer } from "../../src/server/index.js";
import { saying, type Tiny, tiny } from "./tiny.js";

// The unmodified openai package against the bundled tiny model.
const QUESTION = "Where does Ada live?";
const messages = [{ role: "user" as const, content: QUESTION }];
let t: Tiny;
let http: HttpServer;
let client: OpenAI;
beforeAll(async () => {
  t = await tiny({ long: true });
  const registry = createAdapterRegistry(t.model);
  await registry.load("a", await t.adapter("a", 1));
  const limits = { responses: 4 };
  http = await serveHttp(createServer(registry, { baseId: "tiny", seed: 1, limits }).fetch, { port: 0 });
  client = new OpenAI({ baseURL: `${http.url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(async () => {
  await http.close();
  await t.dispose();
});

const ask = { model: "tiny", temperature: 0, max_output_tokens: 12 };
const said = async (list: readonly { role: string; content: string }[]) =>
  generate(t.model, { messages: list as never }, { maxNewTokens: 12 }).result();

describe("the openai package's responses", () => {
  it("answer a text, items and instructions as a chat answers messages", async () => {
    const wanted = await said(messages);
    const response = await client.responses.create({ ...ask, input: QUESTION, metadata: { team: "a" } });
    expect(response.output_text).toBe(wanted.text);
    expect(response).toMatchObject({
      object: "response",
      status: wanted.finishReason === "length" ? "incomplete" : "completed",
      incomplete_details: wanted.finishReason === "length" ? { reason: "max_output_tokens" } : null,
      metadata: { team: "a" },
      output: [{ type: "message", role: "assistant", content: [{ type: "output_text", annotations: [] }] }],
      usage: { input_tokens: wanted.promptIds.length, output_tokens: wanted.tokenIds.length },
    });
    const part = { type: "input_text" as const, text: QUESTION };
    const items = await client.responses.create({
      ...ask,
      instructions: "Be brief.",
      input: [{ role: "user", content: [part] }],
    });
    expect(items.output_text).toBe((await said([{ role: "system", content: "Be brief." }, ...messages])).text);
  });

  it("stream the events of OpenAI's reference, in its order", async () => {
    const stream = await client.responses.create({ ...ask, input: QUESTION, stream: true });
    const events = [];
    for await (const event of stream) events.push(event);
    expect(events.map(({ sequence_number }) => sequence_number)).toEqual(events.map((_, i) => i));
    const types = events.map(({ type }) => type).filter((type, i, all) => type !== all[i - 1]);
    expect(types.slice(0, -1)).toEqual([
      "response.created",
      "response.in_progress",
      "response.output_item.added",
      "response.content_part.added",
      "response.output_text.delta",
      "response.output_text.done",
      "response.content_part.done",
      "response.output_item.done",
    ]);
    expect(["response.completed", "response.incomplete"]).toContain(types.at(-1));
    const deltas = events.flatMap((event) => (event.type === "response.output_text.delta" ? [event.delta] : []));
    expect(deltas.join("")).toBe((await said(messages)).text);
    expect(deltas.length).toBeGreaterThan(2);

    const helper = client.responses.stream({ ...ask, input: QUESTION });
    let snapshot = "";
    helper.on("response.output_text.delta", (event) => (snapshot = event.snapshot));
    const last = await helper.finalResponse();
    expect([last.output_text, snapshot]).toEqual([deltas.join(""), deltas.join("")]);
  });

  it("parse answers that fit a schema", async () => {
    const Person = z.object({ name: z.string().max(8), age: z.int().min(0).max(120) });
    const text = { format: zodTextFormat(Person, "person") };
    for (const model of ["tiny", "a"]) {
      const { output_parsed } = await client.responses.parse({
        ...ask,
        model,
        input: QUESTION,
        text,
        max_output_tokens: 60,
      });
      expect(Person.safeParse(output_parsed).success).toBe(true);
    }
    const json = await client.responses.create({ ...ask, input: QUESTION, text: { format: { type: "json_object" } } });
    expect(JSON.parse(json.output_text)).toBeTypeOf("object");
  });

  it("go on from one another, and from items that came back", async () => {
    const first = await client.responses.create({ ...ask, input: QUESTION, instructions: "Be brief." });
    const second = await client.responses.create({ ...ask, input: "And Bo?", previous_response_id: first.id });
    const history = [
      ...messages,
      { role: "assistant", content: first.output_text },
      { role: "user", content: "And Bo?" },
    ];
    const wanted = (await said(history)).text; // instructions are not carried over
    expect(second.output_text).toBe(wanted);
    const items = [...messages, ...first.output, { role: "user" as const, content: "And Bo?" }];
    expect((await client.responses.create({ ...ask, input: items as never })).output_text).toBe(wanted);
    const reference = { type: "item_reference" as const, id: first.output[0]!.id! };
    const referred = [...messages, reference, { role: "user" as const, content: "And Bo?" }];
    expect((await client.responses.create({ ...ask, input: referred as never })).output_text).toBe(wanted);
  });

  it("are returned, listed and forgotten; the oldest go when they are too many", async () => {
    const { id, output_text } = await client.responses.create({ ...ask, input: QUESTION });
    expect(await client.responses.retrieve(id)).toMatchObject({ id, output_text });
    const { data } = await client.responses.inputItems.list(id);
    expect(data).toMatchObject([{ type: "message", role: "user", content: [{ type: "input_text", text: QUESTION }] }]);
    await client.responses.delete(id);
    await expect(client.responses.retrieve(id)).rejects.toMatchObject({ status: 404, code: "response_not_found" });

    const unkept = await client.responses.create({ ...ask, input: QUESTION, store: false });
    const on = client.responses.create({ ...ask, input: "x", previous_response_id: unkept.id });
    await expect(on).rejects.toMatchObject({ status: 400, code: "previous_response_not_found" });
    const ids = [];
    for (let i = 0; i < 5; i++) ids.push((await client.responses.create({ ...ask, input: `${i}` })).id);
    await expect(client.responses.retrieve(ids[0]!)).rejects.toMatchObject({ status: 404 });
    await client.responses.retrieve(ids[1]!);
  });

  it("give log probabilities where they are asked for", async () => {
    const include = ["message.output_text.logprobs" as const];
    const { output } = await client.responses.create({ ...ask, input: QUESTION, include, top_logprobs: 2 });
    const [part] = (output[0] as OpenAI.Responses.ResponseOutputMessage).content;
    const { text, logprobs } = part as OpenAI.Responses.ResponseOutputText;
    expect(logprobs!.map(({ token }) => token).join("")).toBe(text);
    expect(logprobs![0]!.top_logprobs).toHaveLength(2);
  });

  it.each([
    [{ input: undefined }, "input"],
    [{ background: true }, "background"],
    [{ truncation: "auto" }, "truncation"],
    [{ conversation: "conv_1" }, "conversation"],
    [{ input: [{ type: "web_search_call" }] }, "input[0].type"],
    [{ input: [{ role: "user", content: [{ type: "input_image", image_url: "x" }] }] }, "input[0].content[0]"],
    [{ input: [{ type: "item_reference", id: "msg_1" }] }, "input[0].id"],
    [{ text: { format: { type: "json_schema", name: "a b", schema: {} } } }, "text.format.name"],
    [{ include: ["file_search_call.results"] }, "include.0"],
    [{ instruction: "x" }, "instruction"],
  ])("%j is refused by name", async (more, param) => {
    const asked = client.responses.create({ ...ask, input: "x", ...(more as object) });
    await expect(asked).rejects.toMatchObject({ status: 400, param });
  });
});

describe("tools", () => {
  const parameters = {
    type: "object",
    properties: { to: { enum: ["Kos", "Ios"] } },
    required: ["to"],
    additionalProperties: false,
  };
  const ferry = { type: "function" as const, name: "ferry", parameters, strict: true };
  const asked = {
    ...ask,
    tools: [ferry],
    tool_choice: "required" as const,
    parallel_tool_calls: false,
    max_output_tokens: 60,
  };

  it("are called: an item whose arguments fit, streamed by OpenAI's events; results go back, either way", async () => {
    const stream = client.responses.stream({ ...asked, input: "To Kos?" });
    const types: string[] = [];
    let snapshot = "";
    stream.on("event", ({ type }) => types.push(type));
    stream.on("response.function_call_arguments.delta", (event) => (snapshot = event.snapshot));
    const response = await stream.finalResponse();
    const [call] = response.output as OpenAI.Responses.ResponseFunctionToolCall[];
    expect(call).toMatchObject({ type: "function_call", name: "ferry", status: "completed" });
    expect(["Kos", "Ios"]).toContain(JSON.parse(call!.arguments).to);
    expect(snapshot).toBe(call!.arguments);
    expect(types.filter((type, i) => type !== types[i - 1])).toEqual([
      "response.created",
      "response.in_progress",
      "response.output_item.added",
      "response.function_call_arguments.delta",
      "response.function_call_arguments.done",
      "response.output_item.done",
      "response.completed",
    ]);
    expect(response).toMatchObject({ status: "completed", tools: [{ name: "ferry" }], tool_choice: "required" });

    const output = { type: "function_call_output" as const, call_id: call!.call_id, output: "booked" };
    const free = { ...asked, tool_choice: "none" as const, max_output_tokens: 12 };
    const on = await client.responses.create({ ...free, input: [output], previous_response_id: response.id });
    const items = [{ role: "user" as const, content: "To Kos?" }, call!, output];
    const sent = await client.responses.create({ ...free, input: items });
    const chat = await client.chat.completions.create({
      model: "tiny",
      temperature: 0,
      max_tokens: 12,
      tools: [{ type: "function", function: { name: "ferry", parameters, strict: true } }],
      tool_choice: "none",
      messages: [
        { role: "user", content: "To Kos?" },
        {
          role: "assistant",
          content: null,
          tool_calls: [
            { id: call!.call_id, type: "function", function: { name: "ferry", arguments: call!.arguments } },
          ],
        },
        { role: "tool", tool_call_id: call!.call_id, content: "booked" },
      ],
    });
    expect([on.output_text, sent.output_text]).toEqual(Array(2).fill(chat.choices[0]!.message.content));
    expect(on.usage!.input_tokens).toBe(chat.usage!.prompt_tokens);
  });

  it("of other kinds are refused by name", async () => {
    const tools = [{ type: "web_search" as const }];
    const web = client.responses.create({ ...ask, input: "x", tools });
    await expect(web).rejects.toMatchObject({ status: 400, param: "tools[0].type" });
  });
});

describe("a model that thinks", () => {
  const THINKING = "<think>\nWho is Ada?\n</think>\n\nIn town.";
  const one = { model: "tiny", temperature: 0 };

  it("chat: reasoning_content beside the content, whole and streamed", async () => {
    saying(t.model, THINKING);
    const { choices, usage } = await client.chat.completions.create({ ...one, messages });
    expect(choices[0]!.message).toMatchObject({ content: "In town.", reasoning_content: "Who is Ada?" });
    const thought = t.model.tokenizer.encode(`${THINKING.split("</think>")[0]!}</think>`, { addSpecialTokens: false });
    expect(usage!.completion_tokens_details!.reasoning_tokens).toBe(thought.length);
    const streamed = { content: "", reasoning_content: "" };
    for await (const chunk of await client.chat.completions.create({ ...one, messages, stream: true })) {
      const { content = "", reasoning_content = "" } = chunk.choices[0]!.delta as Partial<typeof streamed>;
      streamed.content += content;
      streamed.reasoning_content += reasoning_content;
    }
    expect(streamed).toEqual({ content: "In town.", reasoning_content: "Who is Ada?" });
  });

  it("responses: an item of reasoning before the message; what was thought goes back to the template", async () => {
    saying(t.model, THINKING);
    const stream = client.responses.stream({ ...one, input: QUESTION });
    let deltas = "";
    stream.on("response.reasoning_text.delta", ({ delta }) => (deltas += delta));
    const response = await stream.finalResponse();
    expect(deltas).toBe("Who is Ada?");
    expect(response.output).toMatchObject([
      { type: "reasoning", summary: [], content: [{ type: "reasoning_text", text: "Who is Ada?" }] },
      { type: "message", content: [{ text: "In town." }] },
    ]);
    expect(response.usage!.output_tokens_details.reasoning_tokens).toBeGreaterThan(3);
    const again = await client.responses.create({
      ...one,
      input: [...messages, ...response.output, ...messages] as never,
    });
    expect(again.output_text).toBe("In town.");
  });

  it("is cut in its thoughts by the limit", async () => {
    saying(t.model, THINKING);
    const max_output_tokens = t.model.tokenizer.encode("<think>\nWho", { addSpecialTokens: false }).length;
    const { output, status } = await client.responses.create({ ...one, input: QUESTION, max_output_tokens });
    expect([status, output.map(({ type }) => type)]).toEqual(["incomplete", ["reasoning"]]);
  });
});
