import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type HttpServer, serveHttp } from "../../src/node/http-server.js";
import { generate } from "../../src/node/index.js";
import { createAdapterRegistry } from "../../src/recipes/adapter-registry.js";
import { createServer } from "../../src/server/index.js";
import { type Tiny, tiny } from "./tiny.js";

let t: Tiny;
let http: HttpServer;
beforeAll(async () => {
  t = await tiny();
  http = await serveHttp(createServer(createAdapterRegistry(t.model), { baseId: "tiny" }).fetch, { port: 0 });
});
afterAll(async () => {
  await http.close();
  await t.dispose();
});

it("the Vercel AI SDK generates and streams", async () => {
  const messages = [{ role: "user" as const, content: "Where does Ada live?" }];
  const { text: expected } = await generate(t.model, { messages }, { maxNewTokens: 12 }).result();
  const provider = createOpenAICompatible({ name: "lowrank", baseURL: `${http.url}/v1`, includeUsage: true });
  const ask = { model: provider("tiny"), messages, temperature: 0, maxOutputTokens: 12 };
  expect((await generateText(ask)).text).toBe(expected);
  const { textStream, usage } = streamText(ask);
  let streamed = "";
  for await (const piece of textStream) streamed += piece;
  expect(streamed).toBe(expected);
  expect((await usage).outputTokens).toBeGreaterThan(0);
});
