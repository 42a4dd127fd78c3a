import { type ChildProcess, spawn } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BASE } from "./tiny.js";

// A server in a process of its own is asked for /health while others send it what is heavy: it answers within 100 ms
// (prober.js says of which clock).
const BIN = fileURLToPath(new URL("../../bin/lowrank.js", import.meta.url));
const WITHIN = 100;
/** On a machine that others use too, some round has to be quiet. */
const ROUNDS = 3;

interface Server {
  readonly child: ChildProcess;
  readonly port: number;
}
let folder: string;
const servers: Server[] = [];

/** The tiny base, said to hold `context` tokens. */
function base(context: number): string {
  const path = join(folder, String(context));
  cpSync(BASE, path, { recursive: true });
  const config = JSON.parse(readFileSync(join(path, "config.json"), "utf8")) as object;
  writeFileSync(join(path, "config.json"), JSON.stringify({ ...config, max_position_embeddings: context }));
  return path;
}

async function start(context: number): Promise<Server> {
  const argv = ["serve", "--base", base(context), "--base-id", "tiny", "--port", "0", "--threads", "1", "--quiet"];
  const child = spawn(process.execPath, [BIN, ...argv, "--data-dir", join(folder, `data-${servers.length}`)]);
  let said = "";
  const port = await new Promise<number>((resolve, reject) => {
    const hear = (text: Buffer) => {
      said += text;
      const [, found] = /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(said) ?? [];
      if (found) resolve(Number(found));
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    child.on("exit", () => reject(new Error(`the server ended: ${said}`)));
  });
  const server = { child, port };
  servers.push(server);
  return server;
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-loop-"));
});
afterAll(async () => {
  for (const { child } of servers) child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});

interface Reply {
  readonly status: number;
  readonly text: string;
  readonly ms: number;
}

function send({ port }: Server, path: string, body?: string | Buffer, type = "application/json"): Promise<Reply> {
  const began = performance.now();
  const headers = body === undefined ? {} : { "content-type": type, "content-length": Buffer.byteLength(body) };
  return new Promise((resolve, reject) => {
    const sent = request({ port, path, method: body === undefined ? "GET" : "POST", headers, agent }, (reply) => {
      let text = "";
      reply.on("data", (data) => (text += data));
      reply.on("end", () => resolve({ status: reply.statusCode!, text, ms: performance.now() - began }));
    });
    sent.on("error", reject);
    sent.end(body);
  });
}
const agent = new Agent({ maxSockets: 100 });

/** The slowest /health while `load` lasts, in milliseconds. */
async function slowest({ port, child }: Server, load: () => Promise<unknown>): Promise<number> {
  const workerData = { port, pid: child.pid, path: "/health" };
  const prober = new Worker(new URL("./prober.js", import.meta.url), { workerData });
  const next = () => new Promise((resolve, reject) => prober.once("message", resolve).once("error", reject));
  await next();
  try {
    await load();
  } finally {
    prober.postMessage("over");
  }
  return (await next()) as number;
}

async function staysAwake(server: Server, load: () => Promise<unknown>): Promise<void> {
  const seen: number[] = [];
  while (seen.length < ROUNDS && !seen.some((ms) => ms < WITHIN)) seen.push(Math.round(await slowest(server, load)));
  expect(Math.min(...seen), `the slowest /health of each round: ${seen.join(", ")} ms`).toBeLessThan(WITHIN);
}

const words = (bytes: number) => "Where does Ada live, and who else lives there? ".repeat(bytes / 47);
const MOST = 2 ** 20 - 2000;
const completion = (prompt: string) => JSON.stringify({ model: "tiny", prompt, max_tokens: 1 });
const chat = (messages: readonly object[]) => JSON.stringify({ model: "tiny", messages, max_tokens: 1 });

const HEAVY: Readonly<Record<string, readonly [path: string, body: string, says: RegExp]>> = {
  "a long prompt": ["/v1/completions", completion(words(MOST)), /context_length_exceeded/],
  "a long conversation": [
    "/v1/chat/completions",
    chat([{ role: "user", content: words(MOST) }]),
    /context_length_exceeded/,
  ],
  "many messages": [
    "/v1/chat/completions",
    chat(Array.from({ length: 2000 }, (_, i) => ({ role: i % 2 ? "assistant" : "user", content: words(400) }))),
    /context_length_exceeded/,
  ],
  "too many messages": ["/v1/chat/completions", chat(Array(8000).fill({ role: "user", content: "" })), /at most 2048/],
  "a long key": [
    "/v1/completions",
    JSON.stringify({ model: "tiny", prompt: "", ["k".repeat(MOST)]: 1 }),
    /unknown_parameter/,
  ],
  "many keys": [
    "/v1/completions",
    JSON.stringify(Object.fromEntries(Array.from({ length: 70_000 }, (_, i) => [`key${i}`, 1]))),
    /at most 16384 are read/,
  ],
  "a long model": ["/v1/completions", JSON.stringify({ model: "m".repeat(MOST), prompt: "" }), /model_not_found/],
  "a long list": ["/v1/completions", JSON.stringify({ model: "tiny", prompt: Array(200_000).fill("a") }), /answers/],
  brackets: ["/v1/completions", "[".repeat(MOST), /nests deeper/],
};

// In the small context the length of a text says that it is too long; in the large one that takes some steps of tokenising.
for (const [context, many] of [
  [256, 20],
  [120_000, 4],
] as const) {
  describe(`/health answers within ${WITHIN} ms, in a context of ${context} tokens,`, () => {
    let server: Server;
    beforeAll(async () => {
      server = await start(context);
      await send(server, "/v1/completions", completion("Ada")); // what is made once is made
      await send(server, "/v1/chat/completions", chat([{ role: "user", content: words(MOST) }])); // too long in both
    });
    for (const [what, [path, body, says]] of Object.entries(HEAVY)) {
      it(`under ${what}`, () =>
        staysAwake(server, async () => {
          const { status, text } = await send(server, path, body);
          expect(status).toBeGreaterThanOrEqual(400);
          expect(text).toMatch(says);
        }));
    }

    it("under many long prompts at once; a short one is answered before the last of them", () =>
      staysAwake(server, async () => {
        const order: string[] = [];
        const long = Array.from({ length: many }, () =>
          send(server, "/v1/completions", HEAVY["a long prompt"]![1]).then(({ status }) =>
            order.push(`long ${status}`),
          ),
        );
        await new Promise((resolve) => setTimeout(resolve, 30));
        const short = send(server, "/v1/completions", completion("Ada")).then(({ status }) =>
          order.push(`short ${status}`),
        );
        await Promise.all([...long, short]);
        expect(order).toContain("short 200");
        expect(order.filter((one) => one === "long 400")).toHaveLength(many);
        expect(order.at(-1)).toBe("long 400");
      }));
  });
}

describe(`/health answers within ${WITHIN} ms while rows are uploaded:`, () => {
  let server: Server;
  beforeAll(async () => {
    server = await start(256);
  });
  const form = (rows: string) =>
    `--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n` +
    `--x\r\ncontent-disposition: form-data; name="file"; filename="rows.jsonl"\r\n\r\n${rows}\r\n--x--\r\n`;
  const upload = (rows: string) => send(server, "/v1/files", form(rows), "multipart/form-data; boundary=x");
  const turn = (content: string, i: number) => ({ role: i % 2 ? "assistant" : "user", content });
  const row = (turns: number, content: string) =>
    JSON.stringify({ messages: Array.from({ length: turns }, (_, i) => turn(content, i)) });
  const cases: Record<string, [rows: string, status: number]> = {
    "one of 60 MB": [`{"text": "${"x".repeat(60e6)}"}`, 400],
    "one of 20,000 turns": [row(20_000, "hello there, friend"), 400],
    "ten thousand short ones": [`${row(4, "hello")}\n`.repeat(10_000), 200],
    "a hundred of 2,000 turns": [`${row(2000, "hello")}\n`.repeat(100), 200],
    "a hundred of one long word": [`{"text": "${"x".repeat(250_000)}"}\n`.repeat(100), 200],
  };
  for (const [what, [rows, status]] of Object.entries(cases)) {
    it(what, () =>
      staysAwake(server, async () => {
        expect((await upload(rows)).status).toBe(status);
      }),
    );
  }

  it("and a job trains on rows that are as long as may be", () =>
    staysAwake(server, async () => {
      const rows = [
        `{"text": "${"word ".repeat(50_000)}"}`,
        row(2000, "hello there, friend, how are you?"),
        row(2, "x".repeat(100_000)),
      ];
      const call = async (path: string, body?: object) =>
        JSON.parse((await send(server, path, body && JSON.stringify(body))).text) as {
          id: string;
          status: string;
        };
      for (const text of rows) {
        const file = JSON.parse((await upload(`${text}\n`)).text) as { id: string };
        const { id } = await call("/v1/fine_tuning/jobs", {
          model: "tiny",
          training_file: file.id,
          hyperparameters: { n_epochs: 1, batch_size: 256 },
        });
        await expect
          .poll(async () => (await call(`/v1/fine_tuning/jobs/${id}`)).status, { timeout: 60_000, interval: 100 })
          .toMatch(/succeeded|failed/);
      }
    }));
});
