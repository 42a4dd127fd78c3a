import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createAdapterRegistry } from "../../src/recipes/adapter-registry.js";
import { createServer } from "../../src/server/index.js";
import { BASE, type Tiny, tiny } from "./tiny.js";

const BIN = fileURLToPath(new URL("../../bin/lowrank.js", import.meta.url));
const QUESTION = "Where does Ada live?";
let t: Tiny;
let mine: string;
beforeAll(async () => {
  t = await tiny();
  mine = await t.adapter("mine", 1);
});
afterAll(() => t.dispose());

/** Says the lines to `lowrank chat`, one after the other. */
let others: string[] = [];
async function chat(...lines: string[]): Promise<{ code: unknown; out: string; err: string }> {
  const argv = [
    BIN,
    "chat",
    "--base",
    BASE,
    "--adapter",
    `mine=${mine}`,
    ...others,
    "--max-new-tokens",
    "12",
    "--threads",
    "1",
  ];
  const child = spawn(process.execPath, argv);
  let [out, err] = ["", ""];
  child.stdout.on("data", (text) => (out += text));
  child.stderr.on("data", (text) => (err += text));
  child.stdin.end(`${lines.join("\n")}\n`);
  const code = await new Promise((resolve) => child.on("close", resolve));
  return { code, out, err };
}

/** What the server says to the same. */
async function served(): Promise<string[]> {
  const registry = createAdapterRegistry(t.model);
  await registry.load("mine", mine);
  const { fetch } = createServer(registry, { baseId: "tiny" });
  const texts = ["mine", "tiny"].map(async (model) => {
    const messages = [{ role: "user", content: QUESTION }];
    const body = JSON.stringify({ model, messages, temperature: 0, max_tokens: 12 });
    const headers = { "content-type": "application/json" };
    const reply = await fetch(new Request("http://localhost/v1/chat/completions", { method: "POST", headers, body }));
    return ((await reply.json()) as { choices: { message: { content: string } }[] }).choices[0]!.message.content;
  });
  const result = await Promise.all(texts);
  registry.dispose();
  return result;
}

it("chat and server say the same, with an adapter and without; /scale, /save and /compare", async () => {
  const [adapted, bare] = await served();
  const saved = join(dirname(mine), "saved.jsonl");
  const { code, out, err } = await chat(
    QUESTION,
    `/save ${saved}`,
    "/reset",
    "/adapter none",
    QUESTION,
    "/reset",
    "/adapter mine",
    "/scale 0",
    QUESTION,
    "/scale x",
    "/reset",
    "/scale 1",
    `/compare ${QUESTION}`,
    "/quit",
  );
  expect(code).toBe(0);
  const [first, second, third, titles, ...columns] = out.split("\n");
  expect([first, second, third]).toEqual([adapted, bare, bare]);
  expect(titles).toMatch(/^\[base\] {5,}\[mine\]$/);
  const at = titles!.indexOf("[mine]");
  const column = (from: number, to?: number) =>
    columns
      .map((line) => line.slice(from, to).trim())
      .join(" ")
      .trim();
  expect([column(0, at), column(at)]).toEqual([bare!.trim(), adapted!.trim()]);
  expect(err).toContain("adapter scale: expected a number");
  const [row] = readFileSync(saved, "utf8").split("\n");
  expect(JSON.parse(row!)).toEqual({
    messages: [
      { role: "user", content: QUESTION },
      { role: "assistant", content: adapted },
    ],
  });
});

it("a mistake ends the line, not the chat", async () => {
  const { code, err } = await chat("/adapter /nowhere", "/adapter mine2", "/adaptr", "/adapter", "/quit");
  expect(code).toBe(0);
  expect(err).toContain("no adapter here");
  expect(err).toContain("'mine2' is no adapter here and no folder; did you mean mine?");
  expect(err).toContain("did you mean /adapter?");
  expect(err).toContain("* mine\n");
});

it("of several adapters it begins with the first", async () => {
  others = [`other=${mine}`];
  const { code, err } = await chat("/adapter", "/quit");
  others = [];
  expect(code).toBe(0);
  expect(err).toContain("* mine\n  other\n");
});
