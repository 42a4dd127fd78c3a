// The Vercel AI SDK through OpenAI's own provider, which asks /v1/responses, against a server: `node ai_sdk.mjs BASE_URL`.
import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { embedMany, generateObject, generateText, streamText } from "ai";
import { z } from "zod";

const [, , baseURL] = process.argv;
const openai = createOpenAI({ baseURL, apiKey: "none" });
const settings = { temperature: 0, maxOutputTokens: 12, maxRetries: 0 };
const question = { role: "user", content: "Where does Ada live?" };

const first = await generateText({ model: openai("tiny"), messages: [question], ...settings });
assert.ok(first.text.length > 0);
assert.ok(first.usage.outputTokens > 0);

const stream = streamText({ model: openai("tiny"), messages: [question], ...settings });
let streamed = "";
for await (const piece of stream.textStream) streamed += piece;
assert.equal(streamed, first.text);
assert.equal((await stream.usage).inputTokens, first.usage.inputTokens);

// What came back is sent again as it is: items of the kept response, by their ids.
const messages = [{ role: "system", content: "Be brief." }, question, ...first.response.messages, question];
assert.ok((await generateText({ model: openai("tiny"), messages, ...settings })).text.length > 0);

const schema = z.object({ town: z.string().max(6), age: z.number().int().min(0).max(99) });
const { object } = await generateObject({
  model: openai("tiny"),
  schema,
  prompt: "Ada",
  ...settings,
  maxOutputTokens: 60,
});
assert.ok(schema.safeParse(object).success);

const chat = await generateText({ model: openai.chat("tiny"), messages: [question], ...settings });
assert.equal(chat.text, first.text);

const { embeddings } = await embedMany({ model: openai.embedding("tiny"), values: ["Ada", "Bo"], maxRetries: 0 });
assert.equal(embeddings.length, 2);
assert.ok(Math.abs(Math.hypot(...embeddings[0]) - 1) < 1e-5);

await assert.rejects(generateText({ model: openai("nobody"), messages: [question], ...settings }), /nobody/);
console.log("AI SDK by OpenAI's provider: responses, streams, history, objects, chat, embeddings and errors");
