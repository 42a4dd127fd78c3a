// LangChain.js as its users write it, against a server: `node langchain.mjs BASE_URL`.
import assert from "node:assert/strict";
import { AIMessage, HumanMessage, SystemMessage } from "@langchain/core/messages";
import { StringOutputParser } from "@langchain/core/output_parsers";
import { ChatPromptTemplate } from "@langchain/core/prompts";
import { tool } from "@langchain/core/tools";
import { ChatOpenAI, OpenAI } from "@langchain/openai";
import { z } from "zod";

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

// Tools, and answers of a shape: a random model keeps to them because it is held to.
const ferry = z.object({ to: z.enum(["Kos", "Ios"]), seats: z.int().min(1).max(9) });
const book = tool(async () => "booked", { name: "ferry", description: "Books a ferry", schema: ferry });
const held = new ChatOpenAI({ ...options, maxTokens: 120 });
const caller = held.bindTools([book], { tool_choice: "ferry" });
const asked = await caller.invoke([question]);
assert.equal(asked.tool_calls.length, 1);
ferry.parse(asked.tool_calls[0].args);
const result = await book.invoke(asked.tool_calls[0]);
assert.equal(typeof (await held.bindTools([book]).invoke([question, asked, result])).content, "string");
let gathered;
for await (const chunk of await caller.stream([question])) gathered = gathered ? gathered.concat(chunk) : chunk;
assert.deepEqual(gathered.tool_calls[0].args, asked.tool_calls[0].args);
for (const method of ["functionCalling", "jsonSchema"])
  ferry.parse(await held.withStructuredOutput(ferry, { name: "ferry", method }).invoke([question]));
console.log("LangChain.js: tools, structured output, chat, history, streams, chains, batches, completions and errors");
