import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import OpenAI, { APIConnectionError, APIError, APIUserAbortError, toFile } from "openai";
import { afterAll, beforeAll, expect, it } from "vitest";
import { generate } from "../../src/node/index.js";
import { type Serving, serve } from "../../src/node/serve.js";
import { random } from "../../src/tensor/index.js";
import { BASE, type Tiny, tiny } from "./tiny.js";

// Mixed load with clients that leave, adapters that change and jobs that train: for a few seconds here, for as long as wanted by
// hand:  LOWRANK_SOAK_SECONDS=600 npx vitest run test/serve/soak.test.ts
const SECONDS = Number(process.env.LOWRANK_SOAK_SECONDS ?? 6);
const CLIENTS = 16;
const ADAPTERS = 8;
const QUESTIONS = ["Where does Ada live?", "Who is Bo?", "What colour does Cy like best, and why is that so?"];
const MOST = 16;

let t: Tiny;
let folder: string;
let server: Serving;
let client: OpenAI;
let paths: string[];
const failures: unknown[] = [];
/** What each model says to each question, greedily. */
const expected = new Map<string, string>();
const conversation = (content: string) => [{ role: "user" as const, content }];
const key = (model: string, question: string) => `${model}: ${question}`;

beforeAll(async () => {
  t = await tiny();
  folder = mkdtempSync(join(tmpdir(), "lowrank-soak-"));
  paths = await Promise.all(Array.from({ length: ADAPTERS }, (_, i) => t.adapter(`a${i}`, i)));
  const hot = join(folder, "hot");
  cpSync(paths[0]!, hot, { recursive: true });
  server = await serve(t.model, {
    port: 0,
    baseId: "tiny",
    adapters: { ...Object.fromEntries(paths.map((path, i) => [`a${i}`, path])), hot },
    reloadSeconds: 0.1,
    limits: { slots: 8, queue: 64, maxTokens: 64, prefixBytes: 2 ** 20 },
    seed: 1,
    fineTuning: { dataDir: join(folder, "jobs"), config: { threads: 1, data: { maxSeqLen: 64 }, lora: { r: 2 } } },
    onError: (error) => failures.push(error),
  });
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
  for (const model of ["tiny", ...server.registry.names()]) {
    for (const question of QUESTIONS) {
      const lease = model === "tiny" ? undefined : server.registry.lease(model);
      const options = { maxNewTokens: MOST, adapter: lease?.adapter };
      expected.set(
        key(model, question),
        (await generate(t.model, { messages: conversation(question) }, options).result()).text,
      );
      lease?.release();
    }
  }
});
afterAll(async () => {
  await server.close();
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
      const bad = pick<object>([{ model: "nobody" }, { temperature: 9 }, { max_tokens: 1e9 }, { messages: [] }]);
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
    await server.registry.load("passing", paths[i % ADAPTERS]!);
    await new Promise((resolve) => setTimeout(resolve, 500));
    server.registry.unload("passing");
    counts.reloads++;
    if (i % 5 !== 0) continue;
    const { id } = await client.fineTuning.jobs.create({
      model: "tiny",
      training_file: file.id,
      hyperparameters: { n_epochs: 1 },
    });
    const job = () => client.fineTuning.jobs.retrieve(id);
    await expect.poll(async () => (await job()).status, { timeout: 120_000 }).toBe("succeeded");
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

async function idle(): Promise<{ buffers: number; resident: number; heap: number }> {
  for (const name of ["lowrank_active_requests", "lowrank_waiting_requests"]) {
    await expect.poll(() => gauge(name), { timeout: 20_000 }).toBe(0);
  }
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
  const { buffers, resident } = await t.model.resident.device.memory();
  const { bytes } = t.model.decoder.prefixes; // kept on purpose
  return { buffers: buffers - bytes, resident, heap: process.memoryUsage().heapUsed };
}

it(`${SECONDS} s of mixed load with aborts: no leak, no wrong adapter, no stuck slot`, {
  timeout: (SECONDS + 300) * 1000,
}, async () => {
  await load(Math.max(2, SECONDS / 4), 1); // the heap settles
  const before = await idle();
  await load(SECONDS, 2);
  const after = await idle();
  if (process.env.LOWRANK_SOAK_SECONDS) {
    console.log(JSON.stringify({ ...counts, reset, before, after }));
  }
  expect(counts.wrong).toBe(0);
  expect(failures).toEqual([]);
  expect(reset).toBeLessThan(1 + counts.visits / 200);
  const certain = SECONDS < 60 ? [counts.compared, counts.left] : [...Object.values({ ...counts, wrong: 1 })];
  for (const count of certain) expect(count).toBeGreaterThan(0);
  expect(after.buffers).toBe(before.buffers);
  expect(after.heap - before.heap).toBeLessThan(30e6);
  expect(after.resident - before.resident).toBeLessThan(200e6); // what was freed may stay with the process
  expect(
    (
      await client.chat.completions.create({
        model: "a3",
        messages: conversation(QUESTIONS[0]!),
        max_tokens: MOST,
        temperature: 0,
      })
    ).choices[0]!.message.content,
  ).toBe(expected.get(key("a3", QUESTIONS[0]!)));
});
