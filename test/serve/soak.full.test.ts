import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import OpenAI, { APIConnectionError, APIError, APIUserAbortError, toFile } from "openai";
import { afterAll, beforeAll, expect, it } from "vitest";
import { applyAdapter, generate } from "../../src/node/index.js";
import { random } from "../../src/tensor/index.js";
import { startServer } from "./own-server.js";
import { BASE, type Tiny, tiny } from "./tiny.js";

// Mixed load with clients that leave, adapters that change and jobs that train: for a few seconds here, for as long as wanted by
// hand:  LOWRANK_SOAK_SECONDS=600 npx vitest run test/serve/soak.full.test.ts
// The clients are this process, the server is another: its memory is its own.
const SECONDS = Number(process.env.LOWRANK_SOAK_SECONDS ?? 6);
const LONG = SECONDS >= 60;
/** The first part is what the server needs to have seen everything once. */
const PARTS = LONG ? 5 : 2;
/** Bytes: what a server may have gained from the end of the first part to the end, and from the middle on. */
const MOST_GROWTH = { heap: 8e6, resident: LONG ? 64e6 : 150e6, late: LONG ? 32e6 : 150e6 };
const CLIENTS = 16;
const ADAPTERS = 8;
const QUESTIONS = ["Where does Ada live?", "Who is Bo?", "What colour does Cy like best, and why is that so?"];
const MOST = 16;

interface Memory {
  readonly resident: number;
  readonly heap: number;
  readonly external: number;
  readonly buffers: number;
}

let t: Tiny;
let folder: string;
let server: Awaited<ReturnType<typeof startServer>>;
let client: OpenAI;
let paths: string[];
/** What each model says to each question, greedily. */
const expected = new Map<string, string>();
const conversation = (content: string) => [{ role: "user" as const, content }];
const key = (model: string, question: string) => `${model}: ${question}`;

beforeAll(async () => {
  t = await tiny();
  t.model.decoder.leastRows = 2; // as a server's
  folder = mkdtempSync(join(tmpdir(), "lowrank-soak-"));
  paths = await Promise.all(Array.from({ length: ADAPTERS }, (_, i) => t.adapter(`a${i}`, i)));
  const hot = join(folder, "hot");
  cpSync(paths[0]!, hot, { recursive: true });
  for (const [i, path] of [undefined, ...paths].entries()) {
    const adapter = path === undefined ? undefined : await applyAdapter(t.model, path);
    for (const question of QUESTIONS) {
      const options = { maxNewTokens: MOST, adapter };
      const { text } = await generate(t.model, { messages: conversation(question) }, options).result();
      expected.set(key(i === 0 ? "tiny" : `a${i - 1}`, question), text);
    }
    adapter?.dispose();
  }
  server = await startServer(BASE, {
    baseId: "tiny",
    adapters: { ...Object.fromEntries(paths.map((path, i) => [`a${i}`, path])), hot },
    reloadSeconds: 0.1,
    limits: { slots: 8, queue: 64, maxTokens: 64, prefixBytes: 2 ** 20 },
    seed: 1,
    fineTuning: { dataDir: join(folder, "jobs"), config: { threads: 1, data: { maxSeqLen: 64 }, lora: { r: 2 } } },
  });
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
});
afterAll(async () => {
  await server.order("close");
  server.end();
  await t.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const counts = { visits: 0, compared: 0, wrong: 0, left: 0, json: 0, refused: 0, reloads: 0, jobs: 0 };
/** Idle connections that the server closed in the very moment a client used them again; clients try such requests again. */
let reset = 0;

/** One request of some kind. */
async function visit(rng: ReturnType<typeof random>): Promise<void> {
  const pick = <T>(list: readonly T[]): T => list[rng.below(list.length)]!;
  const model = pick(["tiny", ...paths.map((_, i) => `a${i}`)]);
  const question = pick(QUESTIONS);
  const ask = { model, messages: conversation(question), max_tokens: MOST, temperature: 0 };
  const compare = (text: string, wanted = expected.get(key(model, question))) => {
    counts.compared++;
    if (text !== wanted) counts.wrong++;
  };
  const whole = async (more: object) => (await client.chat.completions.create({ ...ask, ...more })).choices;
  const kinds: (() => Promise<void>)[] = [
    async () => compare((await whole({}))[0]!.message.content!),
    async () => {
      for (const { message } of await whole({ n: 2 })) compare(message.content!);
    },
    async () => {
      const [choice] = await whole({ logprobs: true, top_logprobs: 2 });
      compare(choice!.logprobs!.content!.map(({ token }) => token).join(""));
    },
    async () => {
      let text = "";
      for await (const { choices } of await client.chat.completions.create({ ...ask, stream: true }))
        text += choices[0]!.delta.content ?? "";
      compare(text);
    },
    async () => {
      if (model === "tiny") return;
      compare((await whole({ adapter_scale: 0 }))[0]!.message.content!, expected.get(key("tiny", question)));
    },
    async () => {
      const [choice] = await whole({ response_format: { type: "json_object" }, temperature: 1, max_tokens: 12 });
      JSON.parse(choice!.message.content!);
      counts.json++;
    },
    async () => {
      const text = (await whole({ model: "hot" }))[0]!.message.content!;
      const either = ["a0", "a1"].map((name) => expected.get(key(name, question)));
      compare(either.includes(text) ? text : "neither", text);
    },
    async () => {
      const stream = await client.chat.completions.create({ ...ask, max_tokens: 64, temperature: 2, stream: true });
      let after = rng.below(6);
      for await (const _ of stream) if (after-- === 0) break; // breaking out aborts
      counts.left++;
    },
    async () => {
      const control = new AbortController();
      setTimeout(() => control.abort(), rng.below(60));
      await client.chat.completions
        .create({ ...ask, max_tokens: 64, temperature: 2 }, { signal: control.signal })
        .catch(() => undefined);
      counts.left++;
    },
    async () => {
      const bad = pick<object>([{ model: "nobody" }, { temperature: 9 }, { max_tokens: -1 }, { messages: [] }]);
      await expect(client.chat.completions.create({ ...ask, ...bad } as never)).rejects.toBeInstanceOf(APIError);
      counts.refused++;
    },
  ];
  counts.visits++;
  try {
    await pick(kinds)();
  } catch (error) {
    if (!(error instanceof APIConnectionError) || error instanceof APIUserAbortError) throw error;
    reset++;
  }
}

/** Changes an adapter's folder, loads and unloads another by name, and has a job train beside it all. */
async function disturb(until: number): Promise<void> {
  const rows = readFileSync(join(BASE, "data/train.jsonl"), "utf8").split("\n").slice(0, 12).join("\n");
  const file = await client.files.create({ file: await toFile(Buffer.from(rows), "rows.jsonl"), purpose: "fine-tune" });
  for (let i = 0; performance.now() < until; i++) {
    cpSync(paths[(i + 1) % 2]!, join(folder, "hot"), { recursive: true });
    await server.order("load", "passing", paths[i % ADAPTERS]!);
    await new Promise((resolve) => setTimeout(resolve, 500));
    await server.order("unload", "passing");
    counts.reloads++;
    if (i % 5 !== 0) continue;
    const { id } = await client.fineTuning.jobs.create({
      model: "tiny",
      training_file: file.id,
      hyperparameters: { n_epochs: 1 },
    });
    const job = () => client.fineTuning.jobs.retrieve(id);
    await expect.poll(async () => (await job()).status, { timeout: 300_000 }).toBe("succeeded");
    const checkpoints = (await client.fineTuning.jobs.checkpoints.list(id)).data;
    for (const name of [(await job()).fine_tuned_model!, ...checkpoints.map((c) => c.fine_tuned_model_checkpoint)]) {
      await client.models.delete(name);
    }
    counts.jobs++;
  }
}

async function load(seconds: number, seed: number): Promise<void> {
  const until = performance.now() + seconds * 1000;
  const clients = Array.from({ length: CLIENTS }, async (_, i) => {
    const rng = random(seed, "client", i);
    while (performance.now() < until) await visit(rng);
  });
  await Promise.all([...clients, disturb(until)]);
}

async function gauge(name: string): Promise<number> {
  const page = await (await fetch(`${server.url}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\d+)$`, "m").exec(page)![1]);
}

/** The server's memory when nothing is asked of it. */
async function idle(): Promise<Memory> {
  for (const name of ["lowrank_active_requests", "lowrank_waiting_requests", "lowrank_running_jobs"]) {
    await expect.poll(() => gauge(name), { timeout: 20_000 }).toBe(0);
  }
  return server.order("memory");
}

it(`${SECONDS} s of mixed load with aborts: no leak, no wrong adapter, no stuck slot`, {
  timeout: (SECONDS + 300) * 1000,
}, async () => {
  const marks: Memory[] = [];
  for (let part = 0; part < PARTS; part++) {
    await load(SECONDS / PARTS, part);
    marks.push(await idle());
    if (LONG) console.log(JSON.stringify({ part, ...counts, reset, ...marks.at(-1) }));
  }
  expect(counts.wrong).toBe(0);
  expect(await server.order("failures")).toEqual([]);
  expect(reset).toBeLessThan(1 + counts.visits / 200);
  const certain = LONG ? Object.values({ ...counts, wrong: 1 }) : [counts.compared, counts.left];
  for (const count of certain) expect(count).toBeGreaterThan(0);
  const [first, middle, last] = [marks[0]!, marks[PARTS >> 1]!, marks.at(-1)!];
  expect(new Set(marks.map(({ buffers }) => buffers)).size).toBe(1);
  expect(last.heap - first.heap).toBeLessThan(MOST_GROWTH.heap);
  expect(last.resident - first.resident).toBeLessThan(MOST_GROWTH.resident);
  expect(last.resident - middle.resident).toBeLessThan(MOST_GROWTH.late);
  const ask = { model: "a3", messages: conversation(QUESTIONS[0]!), max_tokens: MOST, temperature: 0 };
  const { choices } = await client.chat.completions.create(ask);
  expect(choices[0]!.message.content).toBe(expected.get(key("a3", QUESTIONS[0]!)));
});
