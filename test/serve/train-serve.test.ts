import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import OpenAI, { type APIError, toFile } from "openai";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { main } from "../../src/cli/main.js";
import { BASE } from "./tiny.js";

// Whole processes: training that is served, and jobs whose server is killed.
const BIN = fileURLToPath(new URL("../../bin/lowrank.js", import.meta.url));
const DATA = join(BASE, "data/train.jsonl");
let folder: string;
let child: ChildProcess | undefined;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-train-serve-"));
});
afterEach(() => {
  child?.kill("SIGKILL");
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Starts lowrank and waits until it listens. */
async function start(...argv: string[]) {
  const made = spawn(process.execPath, [BIN, ...argv, "--port", "0"]);
  child = made;
  const said = { out: "", err: "" };
  made.stdout.on("data", (text) => (said.out += text));
  made.stderr.on("data", (text) => (said.err += text));
  await expect.poll(() => said.out + said.err, { timeout: 60_000 }).toMatch(/http:\/\/\S+\/v1/);
  const [url] = /http:\/\/[\d.:]+\/v1/.exec(said.out + said.err)!;
  return { child: made, said, client: new OpenAI({ baseURL: url, apiKey: "none", maxRetries: 0 }) };
}
const ask = { messages: [{ role: "user" as const, content: "Where does Ada live?" }], temperature: 0, max_tokens: 12 };
const ids = async (client: OpenAI) => (await client.models.list()).data.map(({ id }) => id);

it("lowrank train --serve: checkpoints are talked to while training goes on, and after it; Ctrl-C ends it", async () => {
  const output = join(folder, "run");
  const overrides = [
    "max_steps=400",
    "save_every=4",
    "batch_size=4",
    "data.max_seq_len=64",
    "threads=1",
    "optimizer.lr=5e-3",
  ];
  const argv = ["train", "--base", BASE, "--data", DATA, "--output", output, ...overrides, "--serve"];
  const { child, said, client } = await start(...argv);
  await expect.poll(() => ids(client), { timeout: 60_000 }).toContain("latest");
  const step = (await ids(client)).find((id) => id.startsWith("step-"))!;
  const bare = await client.chat.completions.create({ model: "tiny", ...ask });
  const answered = await client.chat.completions.create({ model: step, ...ask }).then(
    ({ choices }) => choices.length,
    ({ status }: APIError) => status,
  );
  expect([1, 404]).toContain(answered); // an answer, or the checkpoint has made room for a later one
  expect(said.err).not.toContain("still serving"); // training goes on
  await expect
    .poll(async () => (await client.chat.completions.create({ model: "latest", ...ask })).choices[0]!.message.content, {
      timeout: 60_000,
    })
    .not.toBe(bare.choices[0]!.message.content);
  const steps = (await ids(client)).filter((id) => id.startsWith("step-"));
  expect(steps.length).toBeLessThanOrEqual(3); // keep_last 2, and one between
  child.kill("SIGINT");
  const [code] = (await once(child, "close")) as [number];
  expect({ code, err: said.err }).toMatchObject({ code: 130, err: expect.stringContaining("--resume --serve") });

  const done = /checkpoints\/step-(\d+)\n/g;
  const last = [...said.err.matchAll(done)].at(-1)![1]!;
  const again = await start(...argv, "--resume", `max_steps=${Number(last) + 2}`, "save_every=400");
  await expect.poll(() => again.said.err, { timeout: 60_000 }).toContain("still serving tiny, ");
  expect(await ids(again.client)).toEqual(
    expect.arrayContaining([`step-${last}`, `step-${Number(last) + 2}`, "latest"]),
  );
  expect(existsSync(join(output, "adapter/adapter_model.safetensors"))).toBe(true);
  again.child.kill("SIGINT");
  expect(await once(again.child, "close")).toEqual([0, null]);
});

it("a server that is killed while a job runs: the next one goes on with it", async () => {
  const config = join(folder, "jobs.yaml");
  writeFileSync(config, "base: x\ndata: {train: x, max_seq_len: 64}\nlora: {r: 2}\nthreads: 1\n");
  const argv = ["serve", "--base", BASE, "--threads", "1", "--data-dir", join(folder, "jobs"), "--job-config", config];
  const first = await start(...argv);
  const rows = readFileSync(DATA, "utf8").split("\n").slice(0, 40).join("\n");
  const file = await first.client.files.create({
    file: await toFile(Buffer.from(rows), "r.jsonl"),
    purpose: "fine-tune",
  });
  const { id } = await first.client.fineTuning.jobs.create({
    model: "tiny",
    training_file: file.id,
    hyperparameters: { n_epochs: 6, batch_size: 4 },
  });
  await expect
    .poll(async () => (await first.client.fineTuning.jobs.checkpoints.list(id)).data.length, {
      timeout: 60_000,
      interval: 10,
    })
    .toBeGreaterThan(0);
  first.child.kill("SIGKILL");
  await once(first.child, "close");
  const second = await start(...argv);
  const job = () => second.client.fineTuning.jobs.retrieve(id);
  await expect.poll(async () => (await job()).status, { timeout: 60_000 }).toBe("succeeded");
  const model = (await job()).fine_tuned_model!;
  expect((await second.client.chat.completions.create({ model, ...ask })).choices[0]!.message.content).toBeTypeOf(
    "string",
  );
  const events = (await second.client.fineTuning.jobs.listEvents(id, { limit: 100 })).data.map(
    ({ message }) => message,
  );
  expect(events.some((message) => message.startsWith("resuming after step"))).toBe(true);
  const settings = JSON.parse(
    readFileSync(join(folder, "jobs/jobs", id, "run/adapter/adapter_config.json"), "utf8"),
  ) as object;
  expect(settings).toMatchObject({ r: 2 });
  second.child.kill("SIGINT");
  expect(await once(second.child, "close")).toEqual([0, null]);
});

it("wrong usage is refused before anything is loaded", async () => {
  let err = "";
  const io = { out: () => {}, err: (text: string) => void (err += text), interactive: false, columns: 80 };
  const run = (...argv: string[]) => main(argv, io);
  expect(await run("serve", "--base", "/nowhere", "--job-config", "x.yaml")).toBe(2);
  expect(err).toContain("--job-config: jobs need a --data-dir too");
  expect(
    await run("train", "--base", BASE, "--data", DATA, "--serve", "--port", "x", "--output", join(folder, "no")),
  ).toBe(2);
  expect(err).toContain("--port: expected a whole number");
});
