// LangChain.js as its users write it, against a server: `node langchain.mjs BASE_URL`.
import assert from "node:assert/strict";
import { AIMessage, HumanMessage, SystemMessage } from "@langchain/core/messages";
import { StringOutputParser } from "@langchain/core/output_parsers";
import { ChatPromptTemplate } from "@langchain/core/prompts";
import { ChatOpenAI, OpenAI } from "@langchain/openai";

const [, , baseURL] = process.argv;
const options = {
  model: "tiny",
  apiKey: "none",
  configuration: { baseURL },
  temperature: 0,
  maxTokens: 12,
  maxRetries: 0,
};
const chat = new ChatOpenAI(options);

const question = new HumanMessage("Where does Ada live?");
const first = await chat.invoke([question]);
assert.ok(first.content.length > 0);
assert.ok(first.usage_metadata.output_tokens > 0);

// What came back is sent again as it is, beside messages of every role.
const history = [new SystemMessage("Be brief."), question, first, new AIMessage("Yes."), new HumanMessage("Why?")];
assert.ok((await chat.invoke(history)).response_metadata.finish_reason);

let streamed = "";
for await (const chunk of await chat.stream([question])) streamed += chunk.content;
assert.equal(streamed, first.content);

const chain = ChatPromptTemplate.fromTemplate("Where does {name} live?").pipe(chat).pipe(new StringOutputParser());
const answers = await chain.batch([{ name: "Ada" }, { name: "Bo" }, { name: "Cy" }]);
assert.equal(answers[0], first.content);
assert.equal(answers.length, 3);

assert.equal(typeof (await new OpenAI(options).invoke("Ada lives in")), "string");
await assert.rejects(new ChatOpenAI({ ...options, model: "nobody" }).invoke([question]), /nobody/);
console.log("LangChain.js: chat, history, streams, chains, batches, completions and errors");
