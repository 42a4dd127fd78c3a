import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import OpenAI from "openai";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type HttpServer, serveHttp } from "../../src/node/http-server.js";
import { type LoadedModel, loadModel, loraFinetune } from "../../src/node/index.js";
import { createAdapterRegistry } from "../../src/recipes/adapter-registry.js";
import { createServer } from "../../src/server/index.js";
import { tinyRun } from "../tiny-run.js";
import { longTiny } from "./tiny.js";

// Rows of two tools in OpenAI's format: the tiny base, whose template knows no tools, learns to call them and is asked over HTTP.
const folder = mkdtempSync(join(tmpdir(), "lowrank-tools-"));
const tools = ["greet", "dance"].map((name) => ({
  type: "function" as const,
  function: { name, parameters: { properties: { who: {} } } },
}));
const asked = (content: string) => ({ role: "user" as const, content });
const calls = (name: string, who: string) => ({
  role: "assistant" as const,
  content: null,
  tool_calls: [{ id: "c1", type: "function" as const, function: { name, arguments: JSON.stringify({ who }) } }],
});
const result = { role: "tool" as const, tool_call_id: "c1", content: "done" };
const rows = [
  { messages: [asked("Greet Ada."), calls("greet", "Ada")], tools },
  {
    messages: [asked("Dance with Bo."), calls("dance", "Bo"), result, { role: "assistant", content: "We danced." }],
    tools,
  },
  { messages: [asked("Well?"), { role: "assistant", content: "Well." }], tools },
];
let model: LoadedModel;
let http: HttpServer;
let client: OpenAI;
beforeAll(async () => {
  const base = longTiny(folder);
  const train = join(folder, "rows.jsonl");
  writeFileSync(train, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  const output = join(folder, "run");
  // The tiny base never saw braces and brackets, so it cannot tell them apart before their embeddings are trained too.
  const lora = { targetModules: "all-linear" as const, modulesToSave: ["embed_tokens"] };
  const more = { base, data: { train, maxSeqLen: 1024 }, lora, epochs: 60, batchSize: 3 };
  await loraFinetune(tinyRun(output, more)).result();
  model = await loadModel(base, { threads: 1 });
  const registry = createAdapterRegistry(model);
  await registry.load("tuned", output);
  http = await serveHttp(createServer(registry, { baseId: "tiny" }).fetch, { port: 0 });
  client = new OpenAI({ baseURL: `${http.url}/v1`, apiKey: "none", maxRetries: 0 });
}, 600_000);
afterAll(async () => {
  await http?.close();
  await model?.dispose();
  rmSync(folder, { recursive: true, force: true });
});

it("calls what it was taught to call, unasked, and says words where those were taught", async () => {
  const ask = { model: "tuned", tools, temperature: 0, max_tokens: 120 };
  const first = await client.chat.completions.create({ ...ask, messages: [asked("Greet Ada.")] });
  expect(first.choices[0]).toMatchObject({ finish_reason: "tool_calls", message: { content: null } });
  const { message } = (await client.chat.completions.create({ ...ask, messages: [asked("Dance with Bo.")] }))
    .choices[0]!;
  expect(message.tool_calls).toMatchObject([
    { type: "function", function: { name: "dance", arguments: '{"who": "Bo"}' } },
  ]);
  const after = { role: "tool" as const, tool_call_id: message.tool_calls![0]!.id, content: "done" };
  const last = await client.chat.completions.create({ ...ask, messages: [asked("Dance with Bo."), message, after] });
  expect(last.choices[0]).toMatchObject({ finish_reason: "stop", message: { content: "We danced." } });
  const words = await client.chat.completions.create({ ...ask, messages: [asked("Well?")] });
  expect(words.choices[0]!.message).toMatchObject({ content: "Well." });
  expect(words.choices[0]!.message.tool_calls).toBeUndefined();
});
