import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import OpenAI from "openai";
import { afterAll, beforeAll, expect, it } from "vitest";
import { main } from "../../src/cli/main.js";
import { BASE, type Tiny, tiny } from "./tiny.js";

const BIN = fileURLToPath(new URL("../../bin/lowrank.js", import.meta.url));
let t: Tiny;
let adapter: string;
const children: ChildProcess[] = [];
beforeAll(async () => {
  t = await tiny();
  adapter = await t.adapter("mine", 1);
});
afterAll(async () => {
  for (const child of children) child.kill("SIGKILL");
  await t.dispose();
});

async function run(...argv: string[]) {
  let err = "";
  const io = { out: () => {}, err: (text: string) => void (err += text), interactive: false, columns: 80 };
  return { code: await main(["serve", "--base", BASE, ...argv], io), err };
}

it("lowrank serve: listens, answers the openai package, logs without contents, ends on Ctrl-C", async () => {
  const argv = [BIN, "serve", "--base", BASE, "--adapter", `mine=${adapter}`, "--port", "0", "--threads", "1"];
  const child = spawn(process.execPath, [...argv, "--api-key-env", "TEST_KEY"], {
    env: { ...process.env, TEST_KEY: "k" },
  });
  children.push(child);
  let [out, err] = ["", ""];
  child.stdout.on("data", (text) => (out += text));
  child.stderr.on("data", (text) => (err += text));
  await expect.poll(() => out + err, { timeout: 30_000 }).toContain("listening on");
  const [, url] = /listening on (http:\/\/127\.0\.0\.1:\d+\/v1), serving tiny, mine\n/.exec(out)!;
  const client = new OpenAI({ baseURL: url, apiKey: "k", maxRetries: 0 });
  const messages = [{ role: "user" as const, content: "Where does Ada live?" }];
  const say = (model: string) => client.chat.completions.create({ model, messages, temperature: 0, max_tokens: 8 });
  const [base, mine] = [await say("tiny"), await say("mine")];
  expect(mine.choices[0]!.message.content).not.toBe(base.choices[0]!.message.content);
  const log = err
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(log).toHaveLength(2);
  expect(log[1]).toMatchObject({ route: "/v1/chat/completions", status: 200, model: "mine" });
  expect(log[1]!.prompt_tokens).toBe(mine.usage!.prompt_tokens);
  expect(err).not.toContain("Ada");
  child.kill("SIGINT");
  const code = await new Promise((resolve) => child.on("close", resolve));
  expect(code).toBe(0);
});

it("refuses wrong usage before anything is loaded", async () => {
  const cases: [string[], string][] = [
    [["--host", "0.0.0.0"], "beyond this machine a key is needed"],
    [["--api-key-env", "LOWRANK_NO_SUCH_KEY"], "the variable LOWRANK_NO_SUCH_KEY is not set"],
    [["--port", "70000"], "--port: expected a whole number from 0 to 65535"],
    [["--adapter", "a=x", "a=y"], "the name 'a' is given twice"],
    [["--adapter", `tiny=${adapter}`, "--base-id", "tiny"], "'tiny' is what the base is called"],
  ];
  for (const [argv, message] of cases) {
    const { code, err } = await run(...argv);
    expect({ code, err }).toEqual({ code: 2, err: expect.stringContaining(message) });
  }
  expect(await run("--adapter", "a=/nowhere")).toMatchObject({
    code: 1,
    err: expect.stringContaining("no adapter here"),
  });
});
