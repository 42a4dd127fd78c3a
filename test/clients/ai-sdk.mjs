// The AI SDK with its own provider for OpenAI, as its users write it, against a server: `node ai-sdk.mjs BASE_URL`.
import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const [, , baseURL] = process.argv;
const ferry = z.object({ to: z.enum(["Kos", "Ios"]), seats: z.int().min(1).max(9) });
const booked = [];
const execute = async (input) => {
  booked.push(input);
  return "booked";
};
const model = createOpenAI({ baseURL, apiKey: "none" }).chat("tiny");
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
console.log("the AI SDK: tools and their results, streams and objects");
