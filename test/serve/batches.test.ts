import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import OpenAI, { toFile } from "openai";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type HttpServer, serveHttp } from "../../src/node/http-server.js";
import { createAdapterRegistry } from "../../src/recipes/adapter-registry.js";
import { createServer, openFineTuning } from "../../src/server/index.js";
import { beforeFeeding, type Tiny, tiny } from "./tiny.js";

// The batch API through the unmodified openai package, on a server that asks for a key.
let t: Tiny;
let folder: string;
let adapter: string;
const failures: unknown[] = [];
beforeAll(async () => {
  t = await tiny();
  folder = mkdtempSync(join(tmpdir(), "lowrank-batches-"));
  adapter = await t.adapter("a", 1);
});
afterAll(async () => {
  await t.dispose();
  rmSync(folder, { recursive: true, force: true });
});

interface Running {
  readonly client: OpenAI;
  readonly http: HttpServer;
  stop(): Promise<void>;
}

async function start(dataDir: string, { slots = 2, queue = 64 } = {}): Promise<Running> {
  const registry = createAdapterRegistry(t.model);
  await registry.load("a", adapter);
  const onError = (error: unknown) => void failures.push(error);
  const options = { dataDir: join(folder, dataDir), baseId: "tiny", config: { data: { maxSeqLen: 64 } }, onError };
  const fineTuning = await openFineTuning(registry, options);
  const limits = { slots, queue, maxTokens: 8 };
  const server = createServer(registry, { baseId: "tiny", fineTuning, limits, apiKey: "secret", seed: 1, onError });
  const http = await serveHttp(server.fetch, { port: 0 });
  const client = new OpenAI({ baseURL: `${http.url}/v1`, apiKey: "secret", maxRetries: 0 });
  const stop = async () => {
    await http.close();
    await fineTuning.close();
    registry.dispose();
  };
  return { client, http, stop };
}

const ENDPOINT = "/v1/chat/completions";
const ask = (content: string, more: object = {}) => ({
  model: "a",
  messages: [{ role: "user" as const, content }],
  temperature: 0,
  ...more,
});
const line = (custom_id: string, body: object, more: object = {}) =>
  JSON.stringify({ custom_id, method: "POST", url: ENDPOINT, body, ...more });
const upload = async ({ client }: Running, lines: readonly string[]) =>
  client.files.create({ file: await toFile(Buffer.from(lines.join("\n")), "asked.jsonl"), purpose: "batch" });
const begin = ({ client }: Running, input_file_id: string) =>
  client.batches.create({ input_file_id, endpoint: ENDPOINT, completion_window: "24h", metadata: { team: "b" } });

async function ended({ client }: Running, id: string) {
  await expect
    .poll(async () => (await client.batches.retrieve(id)).status, { timeout: 60_000, interval: 20 })
    .toMatch(/^(completed|failed|expired|cancelled)$/);
  return client.batches.retrieve(id);
}

interface Result {
  readonly custom_id: string;
  readonly response: {
    readonly status_code: number;
    readonly request_id: string;
    readonly body: OpenAI.ChatCompletion;
  };
  readonly error: unknown;
}
async function resultsOf({ client }: Running, file: string | null | undefined): Promise<Map<string, Result>> {
  const lines = (await (await client.files.content(file!)).text()).trimEnd().split("\n");
  const results = new Map(lines.map((text) => [(JSON.parse(text) as Result).custom_id, JSON.parse(text) as Result]));
  expect(results.size).toBe(lines.length);
  return results;
}

it("answers are those that clients get; what is refused is in the error file; lists, pages and files in use", async () => {
  const s = await start("whole");
  const questions = ["Where does Ada live?", "Who is Bo?", "What colour does Cy like best?"];
  const lines = [
    ...questions.map((question, i) => line(`q${i}`, ask(question))),
    "",
    line("wrong", ask("Hi", { temperature: 9 })),
    line("nobody", { ...ask("Hi"), model: "nobody" }),
  ];
  const file = await upload(s, lines);
  expect(file).toMatchObject({ purpose: "batch", filename: "asked.jsonl" });
  const created = await begin(s, file.id);
  expect(created).toMatchObject({ object: "batch", status: "validating", endpoint: ENDPOINT, metadata: { team: "b" } });
  expect(created.expires_at! - created.created_at).toBe(24 * 3600);
  await expect(s.client.files.delete(file.id)).rejects.toMatchObject({ status: 409, code: "file_in_use" });
  const batch = await ended(s, created.id);
  expect(batch).toMatchObject({ status: "completed", request_counts: { total: 5, completed: 3, failed: 2 } });
  const answers = await resultsOf(s, batch.output_file_id);
  expect([...answers.keys()].sort()).toEqual(["q0", "q1", "q2"]);
  for (const [i, question] of questions.entries()) {
    const alone = await s.client.chat.completions.create(ask(question));
    const { status_code, request_id, body } = answers.get(`q${i}`)!.response;
    expect([status_code, body.choices, body.usage]).toEqual([200, alone.choices, alone.usage]);
    expect(request_id).not.toBe("");
  }
  const refused = await resultsOf(s, batch.error_file_id);
  expect(refused.get("wrong")).toMatchObject({
    response: { status_code: 400, body: { error: { param: "temperature" } } },
  });
  expect(refused.get("nobody")).toMatchObject({ response: { status_code: 404 }, error: null });
  expect((await s.client.files.list({ purpose: "batch_output" })).data).toHaveLength(2);

  const broken = await upload(s, [
    line("x", ask("Hi")),
    line("x", ask("Hi")),
    "{",
    line("y", ask("Hi", { stream: true })),
  ]);
  const failed = await ended(s, (await begin(s, broken.id)).id);
  expect(failed).toMatchObject({ status: "failed", output_file_id: null });
  expect(failed.errors!.data!.map((fault) => fault.line)).toEqual([2, 3, 4]);
  const list = await s.client.batches.list({ limit: 1 });
  expect([list.data[0]!.id, list.hasNextPage()]).toEqual([failed.id, true]);
  await expect(begin(s, "file-none")).rejects.toMatchObject({ status: 400, param: "input_file_id" });
  await expect(s.client.batches.cancel(batch.id)).rejects.toMatchObject({ code: "batch_not_cancellable" });
  await s.client.files.delete(file.id);
  await s.stop();
});

it("waits where the queue is full, goes on after a stop without asking again what was answered, and can be cancelled", async () => {
  let s = await start("again", { slots: 1, queue: 0 });
  let [fed, free] = [0, 0];
  let release = () => {};
  let gate = Promise.resolve();
  /** Lets so many more tokens be fed, and no others until `release`. */
  const hold = (more: number) => {
    free = fed + more;
    gate = new Promise((resolve) => (release = resolve));
  };
  beforeFeeding(() => (fed++ >= free ? gate : undefined));
  const lines = Array.from({ length: 6 }, (_, i) => line(`q${i}`, ask(`Where does Ada live? ${i}`)));
  const counts = async (id: string) => (await s.client.batches.retrieve(id)).request_counts!;

  hold(0);
  const other = s.client.chat.completions.create(ask("Who is Bo?"));
  await expect.poll(() => fed, { timeout: 20_000 }).toBe(1);
  const { id } = await begin(s, (await upload(s, lines)).id);
  await expect.poll(async () => (await s.client.batches.retrieve(id)).status, { timeout: 20_000 }).toBe("in_progress");
  const letOn = release;
  hold(20);
  letOn();
  await other;
  await expect.poll(async () => (await counts(id)).completed, { timeout: 20_000 }).toBeGreaterThan(0);
  const first = await counts(id);
  expect(first).toMatchObject({ total: 6, failed: 0 });
  expect(first.completed).toBeLessThan(6);
  const stopped = s.stop();
  release();
  await stopped;

  s = await start("again");
  free = Number.POSITIVE_INFINITY;
  const batch = await ended(s, id);
  expect(batch).toMatchObject({ status: "completed", request_counts: { total: 6, completed: 6, failed: 0 } });
  const answers = await resultsOf(s, batch.output_file_id);
  expect([...answers.keys()].sort()).toEqual(["q0", "q1", "q2", "q3", "q4", "q5"]);

  hold(12);
  const second = (await begin(s, (await upload(s, lines)).id)).id;
  await expect.poll(async () => (await counts(second)).completed, { timeout: 20_000 }).toBeGreaterThan(0);
  expect((await s.client.batches.cancel(second)).status).toBe("cancelling");
  release();
  const cancelled = await ended(s, second);
  expect(cancelled.status).toBe("cancelled");
  expect(cancelled.request_counts!.completed).toBeLessThan(6);
  expect((await resultsOf(s, cancelled.output_file_id)).size).toBe(cancelled.request_counts!.completed);
  await s.stop();
  expect(failures).toEqual([]);
});
