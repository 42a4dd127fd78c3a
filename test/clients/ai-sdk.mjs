// The AI SDK with its own provider for OpenAI, as its users write it, against a server: `node ai-sdk.mjs BASE_URL`.
import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { embedMany, generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const [, , baseURL] = process.argv;
const ferry = z.object({ to: z.enum(["Kos", "Ios"]), seats: z.int().min(1).max(9) });
const booked = [];
const execute = async (input) => {
  booked.push(input);
  return "booked";
};
const openai = createOpenAI({ baseURL, apiKey: "none" });
const model = openai.chat("tiny");
const asked = {
  model,
  prompt: "Two to Kos?",
  tools: { ferry: tool({ description: "Books a ferry", inputSchema: ferry, execute }) },
  prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? "required" : "none" }),
  stopWhen: stepCountIs(2),
  maxOutputTokens: 120,
  temperature: 0,
};
const { steps } = await generateText(asked);
assert.deepEqual(booked, [ferry.parse(steps[0].toolCalls[0].input)]);
assert.equal(steps[1].toolCalls.length, 0);
const streamed = streamText(asked);
await streamed.consumeStream();
assert.deepEqual((await streamed.steps)[0].toolCalls[0].input, booked[0]);
ferry.parse((await generateObject({ model, prompt: "Two to Kos?", schema: ferry })).object);

// Without `.chat` the provider asks /v1/responses.
const settings = { model: openai("tiny"), temperature: 0, maxOutputTokens: 12, maxRetries: 0 };
const question = { role: "user", content: "Where does Ada live?" };
const first = await generateText({ ...settings, messages: [question] });
assert.ok(first.text.length > 0 && first.usage.outputTokens > 0);
assert.equal((await generateText({ ...settings, model, messages: [question] })).text, first.text);
const stream = streamText({ ...settings, messages: [question] });
let said = "";
for await (const piece of stream.textStream) said += piece;
assert.equal(said, first.text);
// What came back is sent again: items of the kept response, by their ids.
const history = [question, ...first.response.messages, question];
assert.ok((await generateText({ ...settings, system: "Be brief.", messages: history })).text.length > 0);
ferry.parse((await generateObject({ ...settings, prompt: "Two to Kos?", schema: ferry, maxOutputTokens: 60 })).object);
booked.length = 0;
const called = await generateText({ ...asked, model: openai("tiny") });
assert.deepEqual(booked, [ferry.parse(called.steps[0].toolCalls[0].input)]);
assert.equal(called.steps[1].toolCalls.length, 0);

const { embeddings } = await embedMany({ model: openai.embedding("tiny"), values: ["Ada", "Bo"], maxRetries: 0 });
assert.ok(Math.abs(Math.hypot(...embeddings[0]) - 1) < 1e-5);
await assert.rejects(generateText({ ...settings, model: openai("nobody"), messages: [question] }), /nobody/);
console.log(
  "the AI SDK: chats and responses with tools and their results, streams, history, objects; embeddings, errors",
);
