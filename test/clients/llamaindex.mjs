// LlamaIndex.TS as its users write it, against a server: `node llamaindex.mjs BASE_URL`.
import assert from "node:assert/strict";
import { OpenAI } from "@llamaindex/openai";
import { Settings, SimpleChatEngine } from "llamaindex";

const [, , baseURL] = process.argv;
const options = { model: "tiny", apiKey: "none", baseURL, temperature: 0, maxTokens: 12, maxRetries: 0 };
const llm = new OpenAI(options);
Settings.llm = llm;

const messages = [{ role: "user", content: "Where does Ada live?" }];
const first = await llm.chat({ messages });
assert.ok(first.message.content.length > 0);

let streamed = "";
for await (const { delta } of await llm.chat({ messages, stream: true })) streamed += delta;
assert.equal(streamed, first.message.content);

const again = await llm.chat({ messages: [...messages, first.message, { role: "user", content: "Why?" }] });
assert.equal(again.message.role, "assistant");

const engine = new SimpleChatEngine({ llm });
const { message } = await engine.chat({ message: messages[0].content });
assert.equal(message.content, first.message.content);

assert.equal(typeof (await llm.complete({ prompt: "Ada lives in" })).text, "string");
await assert.rejects(new OpenAI({ ...options, model: "nobody" }).chat({ messages }), /nobody/);
console.log("LlamaIndex.TS: chat, history, streams, a chat engine, completions and errors");
