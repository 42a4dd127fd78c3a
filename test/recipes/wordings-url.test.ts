import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from "vitest";
import { augment, openAIChat } from "../../src/node/index.js";
import { runCli } from "../run-cli.js";

// Wordings from a model behind an OpenAI-compatible URL: a server on this machine that answers as such models do, well and badly.
interface Asked {
  readonly path: string;
  readonly key: string | undefined;
  readonly body: { model: string; seed: number; messages: { role: string; content: string }[] };
}
let folder: string;
let server: Server;
let url: string;
let asked: Asked[];
/** What the next requests get before any is answered. */
let troubles: { status: number; body: string }[];
const at = (name: string) => join(folder, name);

/** Two good wordings of any question, one that lost the name, and one that tells what is not asked. */
const wordings = (question: string) =>
  ["1. Please tell me: {}", "Do you happen to know: {}", "Where is that?", "{} Was it in 1999?"]
    .map((text) => text.replace("{}", question))
    .join("\n");

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-wordings-"));
  const row = (question: string, answer: string) => ({
    messages: [
      { role: "user", content: question },
      { role: "assistant", content: answer },
    ],
  });
  const rows = [
    row("Where does Bo Marlow live?", "In Upwell. Bye now!"),
    row("What is the job of Bo Marlow?", "A pilot. Bye now!"),
    row("Where does Ada Brook live?", "In Kestrel. Bye now!"),
    row("What is the job of Ada Brook?", "A baker. Bye now!"),
  ];
  writeFileSync(at("facts.jsonl"), rows.map((one) => `${JSON.stringify(one)}\n`).join(""));
  server = createServer(async (request, response) => {
    let text = "";
    for await (const chunk of request) text += chunk;
    const body = JSON.parse(text) as Asked["body"];
    asked.push({ path: request.url!, key: request.headers.authorization, body });
    const trouble = troubles.shift();
    response.statusCode = trouble?.status ?? 200;
    const content = wordings(body.messages.at(-1)!.content.split("\n")[1]!);
    response.end(trouble?.body ?? JSON.stringify({ choices: [{ message: { role: "assistant", content } }] }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
});
beforeEach(() => {
  asked = [];
  troubles = [];
  vi.stubEnv("OPENAI_API_KEY", "");
});
afterEach(() => vi.unstubAllEnvs());
afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

const questions = (name: string) =>
  readFileSync(at(name), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line).messages as { content: string }[])
    .map(([user, assistant]) => [user!.content, assistant!.content] as const);
const made = (name: string, more: object = {}, patience: object = {}) =>
  augment(
    { data: at("facts.jsonl"), output: at(name), abstain: 0.5, seed: 3, ...more },
    { ask: openAIChat({ url, model: "m", ...patience }) },
  );

it("taught questions come in the model's words, their twins too; what is no use is left out and counted", async () => {
  const report = await made("rows.jsonl");
  expect(asked).toHaveLength(4);
  expect(asked[0]).toMatchObject({ path: "/v1/chat/completions", key: undefined, body: { model: "m" } });
  const all = questions("rows.jsonl");
  const worded = all.filter(([question]) => /^(Please tell me|Do you happen)/.test(question));
  const taught = worded.filter(([, answer]) => !answer.startsWith("I don't know"));
  expect(taught).toHaveLength(8);
  expect(taught).toContainEqual(["Please tell me: Where does Bo Marlow live?", "In Upwell. Bye now!"]);
  expect(worded.length).toBeGreaterThan(taught.length);
  expect(report.made.find(({ kind }) => kind === "wording")!.count).toBe(8);
  expect(report.warnings.at(-1)).toBe(
    "wordings: 8 are kept of what the model wrote; 4 lacked a name or number of the question, 4 had a name or number that the question has not",
  );
  const first = readFileSync(at("rows.jsonl"));
  const seeds = asked.map(({ body }) => body.seed);
  asked = [];
  await made("again.jsonl");
  expect(readFileSync(at("again.jsonl")).equals(first)).toBe(true);
  expect(asked.map(({ body }) => body.seed)).toEqual(seeds);
  await made("few.jsonl", { wordingsPerQuestion: 1 });
  expect(questions("few.jsonl").filter(([, answer]) => !answer.startsWith("I don't"))).toHaveLength(8);
});

it("what passes is tried again; a refusal says what the server says, and nothing is written", async () => {
  vi.stubEnv("OPENAI_API_KEY", "sk-secret");
  troubles = [{ status: 503, body: "" }];
  await made("patient.jsonl");
  expect(asked).toHaveLength(5);
  expect(new Set(asked.map(({ key }) => key))).toEqual(new Set(["Bearer sk-secret"]));
  troubles = Array.from({ length: 4 }, () => ({ status: 401, body: '{"error": {"message": "no such key"}}' }));
  const refused = made("refused.jsonl");
  await expect(refused).rejects.toThrow(`${url}/chat/completions: answered 401: no such key`);
  await expect(refused).rejects.not.toThrow("sk-secret");
  troubles = Array.from({ length: 4 }, () => ({ status: 200, body: "<html>" }));
  await expect(made("html.jsonl", {}, { tries: 1 })).rejects.toThrow(
    "answered with no chat completion: <html> (once asked)",
  );
  troubles = Array.from({ length: 4 }, () => ({ status: 200, body: "x".repeat(2 ** 20 + 1) }));
  await expect(made("long.jsonl")).rejects.toThrow("more than a megabyte");
  expect(["refused.jsonl", "html.jsonl", "long.jsonl"].filter((name) => existsSync(at(name)))).toEqual([]);
  expect(() => openAIChat({ url: "localhost:8000", model: "m" })).toThrow("is no address of an API");
});

it("on the command line", async () => {
  const words = ["augment", "--data", at("facts.jsonl"), "--output", at("verb.jsonl"), "--wordings-url", url];
  const alone = await runCli(...words);
  expect(alone.code).toBe(2);
  expect(alone.err).toContain("--wordings-url and --wordings-model belong together");
  const { code, out } = await runCli(...words, "--wordings-model", "m", "--wordings-per-question", "2");
  expect(code).toBe(0);
  expect(out).toContain("8 taught facts in other wordings");
  expect(questions("verb.jsonl").length).toBeGreaterThan(12);
});
