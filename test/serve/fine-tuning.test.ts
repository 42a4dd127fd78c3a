import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import OpenAI, { toFile } from "openai";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { type HttpServer, serveHttp } from "../../src/node/http-server.js";
import { type AdapterRegistry, createAdapterRegistry } from "../../src/recipes/adapter-registry.js";
import { createServer, type FineTuning, type FineTuningOptions, openFineTuning } from "../../src/server/index.js";
import { UserError } from "../../src/tensor/index.js";
import { BASE, type Tiny, tiny } from "./tiny.js";

// The fine-tuning API through the unmodified openai package.
const rows = readFileSync(join(BASE, "data/train.jsonl"), "utf8").trim().split("\n");
const few = (count: number, from = 0) => `${rows.slice(from, from + count).join("\n")}\n`;
const config = {
  data: { maxSeqLen: 64 },
  lora: { r: 4 },
  optimizer: { lr: 5e-3 },
} satisfies FineTuningOptions["config"];

let t: Tiny;
let folder: string;
const failures: unknown[] = [];
beforeAll(async () => {
  t = await tiny();
  folder = mkdtempSync(join(tmpdir(), "lowrank-jobs-"));
});
afterAll(async () => {
  await t.dispose();
  rmSync(folder, { recursive: true, force: true });
});

interface Running {
  readonly client: OpenAI;
  readonly registry: AdapterRegistry;
  readonly tuning: FineTuning;
  readonly http: HttpServer;
  stop(): Promise<void>;
}

async function start(dataDir: string, options: Partial<FineTuningOptions> = {}): Promise<Running> {
  const registry = createAdapterRegistry(t.model);
  const onError = (error: unknown) => void failures.push(error);
  const tuning = await openFineTuning(registry, {
    dataDir: join(folder, dataDir),
    baseId: "tiny",
    config,
    onError,
    ...options,
  });
  const limits = { uploadBytes: 200_000, maxTokens: 400 };
  const server = createServer(registry, { baseId: "tiny", fineTuning: tuning, limits, onError });
  const http = await serveHttp(server.fetch, { port: 0 });
  const client = new OpenAI({ baseURL: `${http.url}/v1`, apiKey: "none", maxRetries: 0 });
  const stop = async () => {
    await http.close();
    await tuning.close();
    registry.dispose();
  };
  return { client, registry, tuning, http, stop };
}

const upload = async ({ client }: Running, text: string, name = "rows.jsonl") =>
  client.files.create({ file: await toFile(Buffer.from(text), name), purpose: "fine-tune" });

async function ended({ client }: Running, id: string) {
  await expect
    .poll(async () => (await client.fineTuning.jobs.retrieve(id)).status, { timeout: 90_000, interval: 20 })
    .toMatch(/succeeded|failed|cancelled/);
  return client.fineTuning.jobs.retrieve(id);
}
const messages = [{ role: "user" as const, content: "Where does Ada live?" }];
const say = async ({ client }: Running, model: string) =>
  (await client.chat.completions.create({ model, messages, temperature: 0, max_tokens: 12 })).choices[0]!.message
    .content;

describe("the whole way", () => {
  let s: Running;
  beforeAll(async () => {
    s = await start("whole");
  });
  afterAll(() => s.stop());

  it("uploads a JSONL, creates a job, watches its events, and chats with the result", async () => {
    const { client } = s;
    const bare = await say(s, "tiny");
    const training = await upload(s, few(24));
    expect(training).toMatchObject({
      object: "file",
      filename: "rows.jsonl",
      purpose: "fine-tune",
      status: "processed",
    });
    const validation = await upload(s, few(6, 24), "held.jsonl");
    const job = await client.fineTuning.jobs.create({
      model: "tiny",
      training_file: training.id,
      validation_file: validation.id,
      suffix: "support",
      seed: 7,
      method: {
        type: "supervised",
        supervised: { hyperparameters: { n_epochs: 2, batch_size: 8, learning_rate_multiplier: "auto" } },
      },
      metadata: { team: "a" },
    });
    expect(job).toMatchObject({
      object: "fine_tuning.job",
      status: "queued",
      model: "tiny",
      seed: 7,
      fine_tuned_model: null,
    });
    expect(job.hyperparameters).toEqual({ n_epochs: 2, batch_size: 8, learning_rate_multiplier: 1 });

    const seen = new Map<string, OpenAI.FineTuning.FineTuningJobEvent>();
    let status = "";
    while (!/succeeded|failed/.test(status)) {
      for await (const event of client.fineTuning.jobs.listEvents(job.id, { limit: 5 })) seen.set(event.id, event);
      expect((await say(s, "tiny"))!).toBe(bare); // the base is served meanwhile
      status = (await client.fineTuning.jobs.retrieve(job.id)).status;
    }
    const done = await client.fineTuning.jobs.retrieve(job.id);
    expect(done).toMatchObject({ status: "succeeded", error: null, trained_tokens: expect.any(Number) });
    const name = done.fine_tuned_model!;
    expect(name).toBe(`ft:tiny:support:${job.id.slice("ftjob-".length)}`);

    for await (const event of client.fineTuning.jobs.listEvents(job.id, { limit: 5 })) seen.set(event.id, event);
    const steps = [...seen.values()].filter(({ type, data }) => type === "metrics" && "train_loss" in (data as object));
    expect(steps.map(({ data }) => (data as { step: number }).step).sort()).toEqual([1, 2, 3, 4, 5, 6]);
    const said = [...seen.values()].map(({ message }) => message).join("\n");
    expect(said).toContain("rows.jsonl: 24 of 24 rows");
    expect(said).toContain("The job has successfully completed");
    expect(said).not.toContain(folder);

    expect((await client.models.list()).data.map(({ id }) => id)).toContain(name);
    expect(await say(s, name)).not.toBe(bare);

    const checkpoints = [];
    for await (const checkpoint of client.fineTuning.jobs.checkpoints.list(job.id)) checkpoints.push(checkpoint);
    expect(checkpoints.map(({ step_number }) => step_number)).toEqual([6, 3]);
    expect(checkpoints[0]!.metrics).toMatchObject({
      step: 6,
      train_loss: expect.any(Number),
      full_valid_loss: expect.any(Number),
    });
    expect(await say(s, checkpoints[0]!.fine_tuned_model_checkpoint)).toBe(await say(s, name));
    expect(await say(s, checkpoints[1]!.fine_tuned_model_checkpoint)).toBeTypeOf("string");

    const table = await (await client.files.content(done.result_files[0]!)).text();
    expect(table.split("\n")[0]).toBe("step,train_loss,valid_loss");
    expect(table.trim().split("\n")).toHaveLength(7);
    expect(await (await client.files.content(training.id)).text()).toBe(few(24));

    const next = await client.fineTuning.jobs.create({
      model: name,
      training_file: training.id,
      hyperparameters: { n_epochs: 1 },
    });
    expect(await ended(s, next.id)).toMatchObject({ status: "succeeded", model: name });
    expect(await client.models.delete(name)).toEqual({ id: name, object: "model", deleted: true });
    await expect(say(s, name)).rejects.toMatchObject({ status: 404 });
    expect(failures).toEqual([]);
  });

  it("lists in pages, newest first, and by metadata", async () => {
    const { client } = s;
    const all: string[] = [];
    for await (const { id } of client.fineTuning.jobs.list({ limit: 1 })) all.push(id);
    expect(all).toEqual([...all].sort().reverse());
    expect(all.length).toBeGreaterThan(1);
    const team = await client.fineTuning.jobs.list({ metadata: { team: "a" } });
    expect(team.data.map(({ id }) => id)).toEqual([all.at(-1)]);
    const files: string[] = [];
    for await (const { id } of client.files.list({ limit: 2, order: "asc" })) files.push(id);
    expect(files).toEqual([...files].sort());
    expect(new Set(files).size).toBe(files.length);
    await expect(client.files.list({ limit: 0 })).rejects.toMatchObject({ status: 400, param: "limit" });
    await expect(client.files.list({ after: "x" })).rejects.toMatchObject({ status: 400, param: "after" });
  });
});

describe("what is wrong is said in OpenAI's shape", () => {
  let s: Running;
  beforeAll(async () => {
    s = await start("wrong");
  });
  afterAll(() => s.stop());

  it("bad uploads: the file, the line and the reason; nothing is kept", async () => {
    const cases: [string, string][] = [
      [`${few(2)}{"messages": [\n${few(1)}`, "bad.jsonl:3: not JSON"],
      [`${few(1)}\n{"messages": []}\n`, "bad.jsonl:3: messages must be a list of turns"],
      [
        `${few(1)}{"prompt": "a", "completion": "b"}\n`,
        "bad.jsonl:2: its keys are prompt, completion; expected messages",
      ],
      [
        '{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": ""}]}',
        "bad.jsonl:1: messages[1].content: empty assistant turn",
      ],
      [
        '{"messages": [{"role": "assistant", "content": "x", "weight": 0}]}',
        "bad.jsonl:1: every assistant turn has weight 0: there is nothing to learn",
      ],
      ['{"mesages": []}', "did you mean messages?"],
      [`${few(1)}"text"\n`, "bad.jsonl:2: expected an object"],
      ["", "holds no rows"],
      ["{\n".repeat(20), "and more"],
    ];
    for (const [text, message] of cases) {
      await expect(upload(s, text, "bad.jsonl"), text.slice(0, 60)).rejects.toMatchObject({
        status: 400,
        code: "invalid_file_format",
        param: "file",
        message: expect.stringContaining(message),
      });
    }
    await expect(upload(s, "\xff\xfe bad", "bad.jsonl")).rejects.toMatchObject({ status: 400 });
    await expect(upload(s, few(24).repeat(300))).rejects.toMatchObject({ status: 413 });
    const wrongPurpose = s.client.files.create({ file: await toFile(Buffer.from(few(1)), "x"), purpose: "vision" });
    await expect(wrongPurpose).rejects.toMatchObject({ status: 400, param: "purpose" });
    expect((await s.client.files.list()).data).toEqual([]);
    expect(readdirSync(join(folder, "wrong/files"))).toEqual([]);
  });

  it("names that would leave the folder are only names", async () => {
    const { id, filename } = await upload(s, few(1), "../../etc/pass\u0000wd");
    expect(filename).toBe("passwd");
    expect(readdirSync(join(folder, "wrong/files"))).toEqual([id]);
    for (const path of ["files/..%2f..%2fjobs", "fine_tuning/jobs/..%2f..", "files/%2e%2e", "files/constructor"]) {
      const reply = await fetch(`${s.http.url}/v1/${path}`);
      expect(reply.status, path).toBe(404);
      expect(await reply.json()).toHaveProperty("error.message");
    }
    expect(await s.client.files.delete(id)).toEqual({ id, object: "file", deleted: true });
    await expect(s.client.files.retrieve(id)).rejects.toMatchObject({ status: 404, code: "file_not_found" });
  });

  it("a form that a foreign page sends without asking is refused", async () => {
    const body = new FormData();
    body.append("purpose", "fine-tune");
    body.append("file", new Blob([few(1)]), "x.jsonl");
    const reply = await fetch(`${s.http.url}/v1/files`, {
      method: "POST",
      body,
      headers: { origin: "https://evil.example" },
    });
    expect(reply.status).toBe(403);
    expect((await s.client.files.list()).data).toEqual([]);
  });

  it("bad jobs name the field", async () => {
    const { id } = await upload(s, few(4));
    const create = (more: object) =>
      s.client.fineTuning.jobs.create({ model: "tiny", training_file: id, ...more } as never);
    const cases: [object, object][] = [
      [{ model: "gpt-4o" }, { status: 404, code: "model_not_found", param: "model" }],
      [
        { model: "tinny" },
        { status: 404, error: expect.objectContaining({ message: expect.stringMatching(/ Did you mean 'tiny'\?$/) }) },
      ],
      [{ training_file: "file-x" }, { status: 400, param: "training_file" }],
      [{ validation_file: "file-x" }, { status: 400, param: "validation_file" }],
      [{ suffix: "a b" }, { status: 400, param: "suffix" }],
      [{ seed: -1 }, { status: 400, param: "seed" }],
      [{ hyperparameters: { n_epochs: 0 } }, { status: 400, param: "hyperparameters.n_epochs" }],
      [{ hyperparameters: { epochs: 3 } }, { status: 400, param: "hyperparameters" }],
      [
        { method: { type: "reinforcement" } },
        { status: 400, param: "method.type", message: expect.stringContaining("'reinforcement' is not taken here") },
      ],
      [
        { method: { type: "dpo" } },
        { status: 400, param: "training_file", message: expect.stringContaining("learns from pairs of preferred") },
      ],
      [{ method: { type: "dpo", dpo: { hyperparameters: { beta: 0 } } } }, { status: 400 }],
      [{ method: { type: "dpo", supervised: {} } }, { status: 400, param: "method" }],
      [{ integrations: [{ type: "wandb" }] }, { status: 400, param: "integrations.0.wandb" }],
      [{ n_epochs: 3 }, { status: 400 }],
      [{ metadata: { a: 1 } }, { status: 400, param: "metadata.a" }],
      [
        {
          hyperparameters: { n_epochs: 1 },
          method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 2 } } },
        },
        { status: 400, param: "hyperparameters" },
      ],
    ];
    for (const [body, error] of cases) await expect(create(body), JSON.stringify(body)).rejects.toMatchObject(error);
    expect((await s.client.fineTuning.jobs.list()).data).toEqual([]);
    await expect(s.client.fineTuning.jobs.retrieve("ftjob-x")).rejects.toMatchObject({
      status: 404,
      code: "job_not_found",
    });
    await expect(s.client.models.delete("tiny")).rejects.toMatchObject({ status: 403 });
  });

  it("prefers what a client's pairs prefer: OpenAI's dpo method", async () => {
    const pairs = rows
      .slice(0, 8)
      .map((row) => (JSON.parse(row) as { messages: object[] }).messages)
      .map((messages) =>
        JSON.stringify({
          input: { messages: messages.slice(0, -1) },
          preferred_output: messages.slice(-1),
          non_preferred_output: [{ role: "assistant", content: "Never mind." }],
        }),
      )
      .join("\n");
    const { id } = await upload(s, pairs, "pairs.jsonl");
    const method = { type: "dpo", dpo: { hyperparameters: { beta: 0.2, n_epochs: 2, batch_size: 4 } } } as const;
    const job = await s.client.fineTuning.jobs.create({ model: "tiny", training_file: id, method });
    expect(job.method).toEqual({
      type: "dpo",
      dpo: { hyperparameters: { beta: 0.2, n_epochs: 2, batch_size: 4, learning_rate_multiplier: 0.1 } },
    });
    const done = await ended(s, job.id);
    expect(done).toMatchObject({ status: "succeeded", error: null });
    const { data } = await s.client.fineTuning.jobs.listEvents(job.id, { limit: 100 });
    const losses = data.flatMap(({ data }) => (data as { train_loss?: number }).train_loss ?? []);
    expect(losses).toHaveLength(4);
    expect(losses.at(-1)).toBeCloseTo(Math.log(2), 5); // newest first: the first step is the reference's
    expect(losses[0]).toBeLessThan(losses.at(-1)!);
    const supervised = s.client.fineTuning.jobs.create({ model: "tiny", training_file: id });
    await expect(supervised).rejects.toMatchObject({ status: 400, param: "training_file" });
  });

  it("a job whose starting model is gone fails without telling the server's paths", async () => {
    const { id } = await upload(s, few(4));
    const create = (model: string) =>
      s.client.fineTuning.jobs.create({ model, training_file: id, hyperparameters: { n_epochs: 2 } });
    const { fine_tuned_model: name } = await ended(s, (await create("tiny")).id);
    const before = await create("tiny");
    const job = await create(name!);
    await s.client.models.delete(name!);
    expect((await ended(s, before.id)).status).toBe("succeeded");
    const { status, error } = await ended(s, job.id);
    expect(status).toBe("failed");
    expect(error!.message).toContain("no adapter here");
    expect(error!.message).not.toContain(folder);
    await expect(create(name!)).rejects.toMatchObject({ status: 404, param: "model" });
  });

  it("a job that cannot be trained fails with a reason that names the file as the client does", async () => {
    const { id } = await upload(s, `{"messages":[{"role":"assistant","content":"\\ud800"}]}\n`, "half.jsonl");
    const { error, status } = await ended(
      s,
      (await s.client.fineTuning.jobs.create({ model: "tiny", training_file: id })).id,
    );
    expect(status).toBe("failed");
    expect(error).toMatchObject({ message: expect.stringContaining("half.jsonl:1"), param: "training_file" });
    expect(error!.message).not.toContain(folder);
    expect(failures).toEqual([]);
  });
});

it("a disk that is full: 500 without the server's paths, its log says why; what is there stays", async () => {
  let full = false;
  const { platform } = t.model;
  const own = platform.ownFiles!;
  const write: typeof own.write = async (path, content) => {
    if (full) throw new UserError(`${path}: the disk is full`);
    return own.write(path, content);
  };
  const registry = createAdapterRegistry({ ...t.model, platform: { ...platform, ownFiles: { ...own, write } } });
  const tuning = await openFineTuning(registry, { dataDir: join(folder, "full"), baseId: "tiny", config });
  const said: string[] = [];
  const onError = (error: unknown) => void said.push((error as Error).message);
  const { fetch } = createServer(registry, { baseId: "tiny", fineTuning: tuning, onError });
  const send = async () => {
    const body = new FormData();
    body.append("purpose", "fine-tune");
    body.append("file", new Blob([few(2)]), "x.jsonl");
    const reply = await fetch(new Request("http://localhost/v1/files", { method: "POST", body }));
    return { status: reply.status, text: await reply.text() };
  };
  expect((await send()).status).toBe(200);
  full = true;
  const { status, text } = await send();
  expect(status).toBe(500);
  expect(text).not.toContain(folder);
  expect(said.join()).toContain("the disk is full");
  expect(tuning.files.list()).toHaveLength(1);
  expect(readdirSync(join(folder, "full/files"))).toHaveLength(1);
  await tuning.close();
});

it("an engine error in a training step ends that job alone: texts are served, its memory is freed, the next job trains", async () => {
  const s = await start("engine-error");
  const { device } = t.model.resident;
  const held = async () => (await device.memory()).buffers - t.model.decoder.prefixes.bytes;
  const bare = await say(s, "tiny");
  const file = await upload(s, few(8));
  const create = () =>
    s.client.fineTuning.jobs.create({
      model: "tiny",
      training_file: file.id,
      hyperparameters: { n_epochs: 1, batch_size: 4 },
    });
  const before = await held();
  const run = device.run.bind(device);
  const missing = vi.spyOn(device, "run").mockImplementation((program, ...rest) => {
    run(program.name === "adamw" ? { ...program, id: -1 } : program, ...rest); // the engine has none of this id
  });
  const job = await ended(s, (await create()).id);
  missing.mockRestore();
  expect(job).toMatchObject({ status: "failed", error: { code: "server_error" }, fine_tuned_model: null });
  expect(failures.splice(0).map(String)).toEqual([expect.stringContaining("program -1")]);
  expect(await say(s, "tiny")).toBe(bare);
  expect(await held()).toBe(before);
  expect((await ended(s, (await create()).id)).status).toBe("succeeded");
  await s.stop();
});

it("a model that only generates is refused", async () => {
  const registry = createAdapterRegistry({ ...t.model, resident: { ...t.model.resident, bits: 4 } });
  const opened = openFineTuning(registry, { dataDir: join(folder, "packed"), baseId: "tiny" });
  await expect(opened).rejects.toThrow("is held in 4 bits, which only generates");
});

describe("jobs wait, stop and go on", () => {
  let s: Running;
  const restart = async (options?: Partial<FineTuningOptions>) => {
    await s.stop();
    s = await start("line", options);
  };
  beforeAll(async () => {
    s = await start("line", { queue: 1 });
  });
  afterAll(() => s.stop());
  let file: string;
  beforeEach(async () => {
    file ??= (await upload(s, few(40))).id;
  });
  const create = (n_epochs: number, suffix?: string) =>
    s.client.fineTuning.jobs.create({
      model: "tiny",
      training_file: file,
      suffix,
      seed: 3,
      hyperparameters: { n_epochs, batch_size: 4 },
    });
  const steps = async (id: string) => {
    const events = await s.client.fineTuning.jobs.listEvents(id, { limit: 100 });
    return events.data.flatMap(({ data }) =>
      (data as { train_loss?: number }).train_loss === undefined ? [] : [(data as { step: number }).step],
    );
  };

  it("one at a time; a queue that is full; cancelling one that runs and one that waits", async () => {
    const [first, second] = [await create(100), await create(100)];
    await expect(create(1)).rejects.toMatchObject({ status: 429 });
    await expect.poll(async () => (await steps(first.id)).length, { timeout: 60_000 }).toBeGreaterThan(1);
    expect((await s.client.fineTuning.jobs.retrieve(second.id)).status).toBe("queued");
    await expect(s.client.files.delete(file)).rejects.toMatchObject({ status: 409, code: "file_in_use" });
    const page = await (await fetch(`${s.http.url}/metrics`)).text();
    expect(page).toContain("lowrank_running_jobs 1\n");
    expect(page).toContain("lowrank_waiting_jobs 1\n");
    expect((await s.client.fineTuning.jobs.cancel(second.id)).status).toBe("cancelled");
    expect((await s.client.fineTuning.jobs.cancel(first.id)).status).toBe("cancelled");
    await expect(s.client.fineTuning.jobs.cancel(first.id)).rejects.toMatchObject({ status: 400 });
    const third = await create(1);
    expect((await ended(s, third.id)).status).toBe("succeeded");
    expect(await steps(second.id)).toEqual([]);
    expect((await s.client.fineTuning.jobs.retrieve(first.id)).fine_tuned_model).toBeNull();
  });

  it("a server that is stopped and started again goes on where it was, to the same result; its models are served", async () => {
    const whole = await ended(s, (await create(3, "whole")).id);
    const { id } = await create(3, "broken");
    const status = async () => (await s.client.fineTuning.jobs.retrieve(id)).status;
    await expect.poll(status, { interval: 5, timeout: 60_000 }).toBe("running"); // one alone may wait
    const queued = await create(1, "queued");
    await expect.poll(async () => (await steps(id)).length, { interval: 5, timeout: 60_000 }).toBeGreaterThan(2);
    await restart();
    expect((await s.client.fineTuning.jobs.retrieve(queued.id)).status).not.toBe("succeeded");
    const done = await ended(s, id);
    expect(done).toMatchObject({ status: "succeeded", trained_tokens: whole.trained_tokens });
    const said = (await s.client.fineTuning.jobs.listEvents(id, { limit: 100 })).data.map(({ message }) => message);
    expect(said.some((message) => /resuming after step \d+/.test(message))).toBe(true);
    const bytes = (job: { id: string }) =>
      readFileSync(join(folder, "line/jobs", job.id, "run/adapter/adapter_model.safetensors")).toString("base64");
    expect(bytes(done)).toBe(bytes(whole));
    expect((await ended(s, queued.id)).status).toBe("succeeded");
    const text = await say(s, done.fine_tuned_model!);
    await restart();
    expect(await say(s, done.fine_tuned_model!)).toBe(text);
    expect(await say(s, whole.fine_tuned_model!)).toBe(text);
    expect((await s.client.fineTuning.jobs.list()).data.map(({ id }) => id)).toContain(whole.id);
  });

  it("two servers on one folder: the second is refused", async () => {
    const registry = createAdapterRegistry(t.model);
    await expect(openFineTuning(registry, { dataDir: join(folder, "line"), baseId: "tiny" })).rejects.toThrow(
      "is using this folder",
    );
  });

  it("jobs of another base are left alone", async () => {
    await s.stop();
    const registry = createAdapterRegistry(t.model);
    const other = await openFineTuning(registry, { dataDir: join(folder, "line"), baseId: "other" });
    expect(registry.names()).toEqual([]);
    expect(other.jobs.list().length).toBeGreaterThan(0);
    await other.close();
    s = await start("line");
    expect(failures).toEqual([]);
  });
});
