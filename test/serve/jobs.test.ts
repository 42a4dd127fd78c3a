import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { markedKind } from "../../src/formats/own-folder.js";
import { nodeFiles } from "../../src/node/files.js";
import { createAdapterRegistry } from "../../src/recipes/adapter-registry.js";
import { readJobRequest } from "../../src/server/fine-tuning/request.js";
import { microBatch } from "../../src/server/fine-tuning/runner.js";
import { createServer, type FineTuning, openFineTuning } from "../../src/server/index.js";
import { BASE, type Tiny, tiny } from "./tiny.js";

// What many requests at once, kills, damage and other people's files do to jobs and to the folder they are kept in.
const rows = readFileSync(join(BASE, "data/train.jsonl"), "utf8").trim().split("\n");
const config = { data: { maxSeqLen: 64 }, lora: { r: 4 } };

let t: Tiny;
let folder: string;
const stops: (() => Promise<void>)[] = [];
beforeAll(async () => {
  t = await tiny();
  folder = mkdtempSync(join(tmpdir(), "lowrank-folder-"));
});
afterAll(async () => {
  for (const stop of stops) await stop();
  await t.dispose();
  rmSync(folder, { recursive: true, force: true });
});

interface Reply {
  readonly status: number;
  readonly body: { readonly id: string; readonly status: string; readonly error: { code: string; message: string } };
}

interface Opened {
  readonly tuning: FineTuning;
  readonly notes: string[];
  readonly failures: unknown[];
  send(method: string, path: string, body?: object): Promise<Reply>;
  upload(text: string): Promise<Reply>;
  create(file: string, more?: object): Promise<Reply>;
  close(): Promise<void>;
}

async function open(name: string, more: object = {}): Promise<Opened> {
  const registry = createAdapterRegistry(t.model);
  const [notes, failures]: [string[], unknown[]] = [[], []];
  const onError = (error: unknown) => void failures.push(error);
  const onNote = (note: string) => void notes.push(note);
  const tuning = await openFineTuning(registry, {
    dataDir: join(folder, name),
    baseId: "tiny",
    config: { ...config, ...more },
    onError,
    onNote,
  });
  const server = createServer(registry, { baseId: "tiny", fineTuning: tuning, onError, limits: { slots: 2 } });
  const fetch = async (request: Request): Promise<Reply> => {
    const reply = await server.fetch(request);
    return { status: reply.status, body: (await reply.json()) as Reply["body"] };
  };
  const send: Opened["send"] = (method, path, body) => {
    const headers = { "content-type": "application/json" };
    const sent = body === undefined ? {} : { body: JSON.stringify(body), headers };
    return fetch(new Request(`http://localhost/v1/${path}`, { method, ...sent }));
  };
  const close = async () => {
    stops.splice(0, stops.length, ...stops.filter((stop) => stop !== close));
    await tuning.close();
    registry.dispose();
  };
  stops.push(close);
  return {
    tuning,
    notes,
    failures,
    send,
    upload(text) {
      const body = new FormData();
      body.append("purpose", "fine-tune");
      body.append("file", new Blob([text]), "rows.jsonl");
      return fetch(new Request("http://localhost/v1/files", { method: "POST", body }));
    },
    create: (file, more = {}) => send("POST", "fine_tuning/jobs", { model: "tiny", training_file: file, ...more }),
    close,
  };
}

const few = (count: number) => `${rows.slice(0, count).join("\n")}\n`;
const jobPath = (name: string, id: string) => join(folder, name, "jobs", id, "job.json");
const long = { hyperparameters: { n_epochs: 100, batch_size: 1 } };

describe("evaluations of jobs", () => {
  const done = async (s: Opened) => {
    const { body } = await s.create((await s.upload(few(4))).body.id, { hyperparameters: { n_epochs: 2 } });
    const job = () => s.tuning.jobs.get(body.id);
    await expect.poll(() => job().object.status, { timeout: 60_000 }).toMatch(/succeeded|failed/);
    const events = await s.send("GET", `fine_tuning/jobs/${body.id}/events?limit=100`);
    const { data } = events.body as unknown as { data: { message: string; data: Record<string, unknown> }[] };
    return { status: job().object.status, error: job().object.error, events: data };
  };

  it("they are what the operator's config asks for: suite, samples, the best adapter", async () => {
    const suite = join(folder, "suite.yaml");
    writeFileSync(suite, "max_new_tokens: 4\nunanswerable: [Who is Zorbaxle?]\n");
    const samples = { prompts: ["Who is Bo?"], maxNewTokens: 4 };
    const s = await open("evaluated", { evalSuite: suite, samples, loadBestModelAtEnd: true });
    const { status, events } = await done(s);
    expect(status).toBe("succeeded");
    expect(events.filter(({ data }) => typeof data["suite/invented"] === "number")).toHaveLength(2);
    const answers = events.filter(({ data }) => data.prompt === "Who is Bo?");
    expect(answers).toHaveLength(2);
    expect(answers[0]!.data).toMatchObject({ base: expect.any(String), adapter: expect.any(String) });
    expect(events.some(({ message }) => message.includes("is the best evaluation's"))).toBe(true);
    await s.close();
  });

  it.each(["pissa", "eva"] as const)("adapters start as it says: %s", async (init) => {
    const s = await open(init, { lora: { r: 4, init } });
    expect(await done(s)).toMatchObject({ status: "succeeded", error: null });
    await s.close();
  });

  it("a job without validation rows does not go by them, though the operator's config does", async () => {
    const byLoss = { metricForBestModel: "eval_loss", earlyStoppingPatience: 1, loadBestModelAtEnd: true };
    const s = await open("unvalidated", { data: { ...config.data, validation: 0.5 }, ...byLoss });
    expect(await done(s)).toMatchObject({ status: "succeeded", error: null });
    await s.close();
  });
});

describe("many at once", () => {
  it("cancelling a job in its first moments: it is cancelled, and stays so after a restart", async () => {
    let s = await open("cancel");
    const file = (await s.upload(few(4))).body.id;
    const ids: string[] = [];
    for (let wait = 0; wait < 30; wait++) {
      const { body } = await s.create(file, long);
      ids.push(body.id);
      if (wait % 3 > 0) await new Promise((resolve) => setTimeout(resolve, wait % 10));
      const { status, body: job } = await s.send("POST", `fine_tuning/jobs/${body.id}/cancel`);
      expect({ wait, status, job: job.status }).toEqual({ wait, status: 200, job: "cancelled" });
    }
    await expect.poll(() => s.tuning.load.running, { timeout: 20_000 }).toBe(0);
    const all = () => ids.map((id) => s.tuning.jobs.get(id).object.status);
    expect(new Set(all())).toEqual(new Set(["cancelled"]));
    expect(s.failures).toEqual([]);
    await s.close();
    s = await open("cancel");
    expect(new Set(all())).toEqual(new Set(["cancelled"]));
    expect(s.tuning.load).toMatchObject({ running: 0, waiting: 0 });
    await s.close();
  });

  it("sixty jobs at once: one runs, sixteen wait, the others are told so; a file they need stays", async () => {
    const s = await open("sixty");
    const file = (await s.upload(few(4))).body.id;
    const spare = (await s.upload(few(4))).body.id;
    const replies = await Promise.all(Array.from({ length: 60 }, () => s.create(file, long)));
    const made = replies.filter(({ status }) => status === 200);
    expect(made.length).toBe(17);
    expect(replies.filter(({ status }) => status === 429)).toHaveLength(43);
    expect(s.tuning.load).toMatchObject({ running: 1, waiting: 16 });
    for (const { body } of made) await s.send("POST", `fine_tuning/jobs/${body.id}/cancel`);

    const request = (id: string) => readJobRequest({ model: "tiny", training_file: id, ...long });
    const kept = await Promise.allSettled([s.tuning.create(request(spare)), s.tuning.removeFile(spare)]);
    expect(kept).toMatchObject([{ status: "fulfilled" }, { reason: { status: 409, code: "file_in_use" } }]);
    const gone = await Promise.allSettled([s.tuning.removeFile(file), s.tuning.create(request(file))]);
    expect(gone).toMatchObject([{ status: "fulfilled" }, { reason: { status: 400, code: "file_not_found" } }]);
    expect(s.failures).toEqual([]);
    await s.close();
  });
});

it("a paused job stays so over a restart, and goes on from its step when it is resumed", async () => {
  let s = await open("paused");
  const file = (await s.upload(few(4))).body.id;
  const ask = (id: string, what: string) => s.send("POST", `fine_tuning/jobs/${id}/${what}`);
  const job = (id: string) => s.tuning.jobs.get(id).object;
  const seeded = { hyperparameters: { n_epochs: 12, batch_size: 1 }, seed: 5 };
  const [first, second] = [(await s.create(file, seeded)).body.id, (await s.create(file, long)).body.id];
  expect((await ask(second, "pause")).body.status).toBe("paused"); // it waited
  await expect.poll(() => job(first).estimated_finish, { timeout: 20_000, interval: 5 }).toBeGreaterThan(1e9);
  expect((await ask(first, "pause")).body).toMatchObject({ status: "paused" });
  await expect.poll(() => s.tuning.load, { timeout: 20_000 }).toMatchObject({ running: 0, waiting: 0 });
  expect(job(first)).toMatchObject({ status: "paused", estimated_finish: null });
  expect(await ask(first, "pause")).toMatchObject({ status: 400, body: { error: { code: "job_not_pausable" } } });
  await s.close();

  s = await open("paused");
  expect([job(first).status, job(second).status, s.tuning.load.running]).toEqual(["paused", "paused", 0]);
  expect((await ask(second, "cancel")).body.status).toBe("cancelled");
  expect(await ask(second, "resume")).toMatchObject({ status: 400, body: { error: { code: "job_not_paused" } } });
  expect((await ask(first, "resume")).body.status).toBe("queued");
  await expect.poll(() => job(first).status, { timeout: 60_000 }).toBe("succeeded");
  const messages = (await s.tuning.jobs.events(first)).map(({ message }) => message).reverse();
  expect(messages.filter((message) => message.startsWith("Step ")).length).toBe(48); // each of them once
  expect(messages.some((message) => /^Training begins after step [1-9]/.test(message))).toBe(true);

  const whole = (await s.create(file, seeded)).body.id;
  await expect.poll(() => job(whole).status, { timeout: 60_000 }).toBe("succeeded");
  const weights = (id: string) =>
    readFileSync(join(folder, "paused/jobs", id, "run/adapter/adapter_model.safetensors"));
  expect(weights(first).equals(weights(whole))).toBe(true);
  expect(s.failures).toEqual([]);
  await s.close();
});

describe("a server that died", () => {
  it("goes on with a job once, and ends one during which it died twice", async () => {
    let s = await open("deaths");
    const file = (await s.upload(few(4))).body.id;
    const { body } = await s.create(file, long);
    const id = body.id;
    await expect.poll(() => s.tuning.jobs.get(id).object.status, { timeout: 20_000 }).toBe("running");
    const asItDied = readFileSync(jobPath("deaths", id));
    await s.close();
    expect(JSON.parse(readFileSync(jobPath("deaths", id), "utf8"))).toMatchObject({ begun: 0 }); // it was put down

    for (const [deaths, status] of [
      [1, "running"],
      [2, "failed"],
    ] as const) {
      writeFileSync(jobPath("deaths", id), JSON.stringify({ ...JSON.parse(String(asItDied)), begun: deaths }));
      s = await open("deaths");
      await expect.poll(() => s.tuning.jobs.get(id).object.status, { timeout: 20_000 }).toBe(status);
      const begun = () => (JSON.parse(readFileSync(jobPath("deaths", id), "utf8")) as { begun: number }).begun;
      if (status === "running") await expect.poll(begun, { timeout: 20_000 }).toBe(2);
      else expect(s.tuning.jobs.get(id).object.error?.message).toContain("the server died 2 times while this job ran");
      expect(s.failures).toEqual([]);
      await s.close();
    }
    expect(JSON.parse(String(asItDied))).toMatchObject({ begun: 1 });
  });

  it("starts with damaged jobs and files beside it: they are named and left as they are, the others are served", async () => {
    let s = await open("damaged");
    const file = (await s.upload(few(4))).body.id;
    const other = (await s.upload(few(4))).body.id;
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) {
      const { body } = await s.create(file, long);
      await s.send("POST", `fine_tuning/jobs/${body.id}/cancel`);
      ids.push(body.id);
    }
    await expect.poll(() => s.tuning.load.running, { timeout: 20_000 }).toBe(0);
    await s.close();
    const damage = ["", "{", "{}", `{"object": {"id": "${ids[3]}", "status": "queued"}, "checkpoints": []}`];
    for (const [i, text] of damage.entries()) writeFileSync(jobPath("damaged", ids[i]!), text);
    writeFileSync(join(folder, "damaged/files", other, "file.json"), "[]");
    s = await open("damaged");
    expect(s.tuning.jobs.list().map(({ object }) => object.id)).toEqual([ids[4]]);
    expect(s.tuning.files.list().map(({ id }) => id)).toEqual([file]);
    for (const id of [...ids.slice(0, 4), other]) expect(s.notes.join("\n")).toContain(`${id}: left as it is`);
    for (const [i, text] of damage.entries()) expect(readFileSync(jobPath("damaged", ids[i]!), "utf8")).toBe(text);
    expect((await s.send("GET", `fine_tuning/jobs/${ids[0]}`)).status).toBe(404);
    await s.close();
  });
});

describe("the data folder", () => {
  it("is marked, for its user alone, and so is what is in it", async () => {
    mkdirSync(join(folder, "modes"), { mode: 0o755 });
    const s = await open("modes");
    const file = (await s.upload(few(4))).body.id;
    const job = (await s.create(file, long)).body.id;
    const mode = (path: string) => statSync(join(folder, "modes", path)).mode & 0o777;
    expect(await markedKind(nodeFiles, join(folder, "modes"))).toBe("data");
    if (process.platform !== "win32") {
      for (const path of [".", "files", "jobs", `files/${file}`, `jobs/${job}`]) expect(mode(path), path).toBe(0o700);
      for (const path of [`files/${file}/content`, `files/${file}/file.json`, `jobs/${job}/job.json`])
        expect(mode(path), path).toBe(0o600);
    }
    await s.close();
  });

  it("of somebody else is refused, and nothing in it changes", async () => {
    const cases: Record<string, string[]> = {
      "mine-1": ["files/thesis.txt", "jobs/cv.txt"],
      "mine-2": ["notes.txt"],
      "mine-3": ["files/file-1/content"],
      "mine-4": ["jobs/ftjob-0mb4v1qk81a2b3c4/job.json", "README.md"],
    };
    for (const [name, paths] of Object.entries(cases)) {
      for (const path of paths) {
        mkdirSync(join(folder, name, path, ".."), { recursive: true });
        writeFileSync(join(folder, name, path), "mine");
      }
      const before = readdirSync(join(folder, name), { recursive: true }).sort();
      await expect(open(name), name).rejects.toThrow("holds what lowrank did not write");
      expect(readdirSync(join(folder, name), { recursive: true }).sort()).toEqual(before);
      for (const path of paths) expect(readFileSync(join(folder, name, path), "utf8")).toBe("mine");
    }
  });

  it("from before folders were marked is taken over; what others put into it later stays, left-overs go", async () => {
    let s = await open("earlier");
    const file = (await s.upload(few(4))).body.id;
    await s.close();
    rmSync(join(folder, "earlier/.lowrank"));
    s = await open("earlier");
    expect(s.tuning.files.list().map(({ id }) => id)).toEqual([file]);
    expect(await markedKind(nodeFiles, join(folder, "earlier"))).toBe("data");
    await s.close();

    const [files, jobs] = [join(folder, "earlier/files"), join(folder, "earlier/jobs")];
    writeFileSync(join(files, "thesis.txt"), "mine");
    mkdirSync(join(jobs, "mine"));
    mkdirSync(join(files, `${file}.partial`));
    mkdirSync(join(files, `${file}.lowrank.partial`));
    mkdirSync(join(jobs, "ftjob-0mb4v1qk81a2b3c4"));
    writeFileSync(join(jobs, "ftjob-0mb4v1qk81a2b3c4/job.json.partial"), "{");
    s = await open("earlier");
    expect(readdirSync(files)).toEqual([file, "thesis.txt"]);
    expect(readdirSync(jobs)).toEqual(["mine"]);
    expect(s.notes).toHaveLength(2);
    expect((await s.send("GET", "files")).status).toBe(200);
    await s.close();
  });
});

describe("one row", () => {
  it("too long, or of too many turns, is refused at upload, with its line", async () => {
    const s = await open("rows");
    const turns = (count: number) =>
      JSON.stringify({
        messages: Array.from({ length: count }, (_, i) => ({ role: i % 2 ? "assistant" : "user", content: "hello" })),
      });
    const cases: [string, string][] = [
      [turns(20_000), "rows.jsonl:2: the row is longer than 262144 bytes"],
      [turns(3000), "rows.jsonl:2: it has 3000 messages; at most 2048 can be trained on"],
      [JSON.stringify({ text: "x".repeat(2e6) }), "rows.jsonl:2: the row is longer than 262144 bytes"],
      [`{"text": "${" ".repeat(60e6)}"}`, "rows.jsonl:2: the row is longer than 262144 bytes"],
    ];
    for (const [row, message] of cases) {
      const first = row.startsWith('{"text') ? '{"text": "a"}' : rows[0];
      const began = performance.now();
      const { status, body } = await s.upload(`${first}\n${row}\n`);
      expect({ status, message: body.error.message }).toEqual({
        status: 400,
        message: expect.stringContaining(message),
      });
      expect(performance.now() - began).toBeLessThan(10_000);
    }
    await s.close();
  });

  it("a batch of 256 rows is computed in micro-batches no larger than the operator's", async () => {
    expect([1, 4, 6, 7, 64, 250, 256].map((wanted) => microBatch(wanted, 4))).toEqual([1, 4, 3, 1, 4, 2, 4]);
    const s = await open("batch");
    const file = (await s.upload(few(40))).body.id;
    const { body } = await s.create(file, { hyperparameters: { n_epochs: 1, batch_size: 20 }, seed: 1 });
    await expect.poll(() => s.tuning.jobs.get(body.id).object.status, { timeout: 60_000 }).toBe("succeeded");
    const run = readFileSync(join(folder, "batch/jobs", body.id, "run/config.yaml"), "utf8");
    expect(run).toMatch(/^batch_size: 4$/m);
    expect(run).toMatch(/^gradient_accumulation_steps: 5$/m);
    const events = await s.tuning.jobs.events(body.id);
    expect(events.filter(({ data }) => "train_loss" in data)).toHaveLength(2);
    await s.close();
  });
});

it("HEAD of a file's content opens nothing that it does not close", async () => {
  const s = await open("head");
  const file = (await s.upload(few(4))).body.id;
  const opened = vi.spyOn(nodeFiles, "open");
  const server = createServer(createAdapterRegistry(t.model), { baseId: "tiny", fineTuning: s.tuning });
  const ask = (method: string, path: string) =>
    server.fetch(new Request(`http://localhost${path}`, { method })).then(async (reply) => ({
      status: reply.status,
      length: reply.headers.get("content-length"),
      text: await reply.text(),
    }));
  const handles = () => readdirSync("/proc/self/fd").length;
  const before = process.platform === "linux" ? handles() : 0;
  for (let i = 0; i < 20; i++) {
    const head = await ask("HEAD", `/v1/files/${file}/content`);
    expect(head).toEqual({ status: 200, length: String(few(4).length), text: "" });
  }
  expect(opened).not.toHaveBeenCalled();
  opened.mockRestore();
  if (process.platform === "linux") expect(handles()).toBeLessThan(before + 5);
  expect(await ask("GET", `/v1/files/${file}/content`)).toMatchObject({ status: 200, text: few(4) });
  expect(await ask("HEAD", "/health")).toMatchObject({ status: 200, text: "" });
  await s.close();
});
