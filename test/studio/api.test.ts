import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { nodePlatform } from "../../src/node/platform.js";
import type { EventOf, ReplyOf, RequestOf } from "../../src/studio/backend.js";
import { createStudioServer } from "../../src/studio/http.js";
import type { CALLS, STREAMS } from "../../src/studio/routes/index.js";
import { createStudio } from "../../src/studio/studio.js";
import { firstRows, TINY } from "../tiny-run.js";

const work = mkdtempSync(join(tmpdir(), "lowrank-studio-"));
const folder = join(work, "runs");
const node = nodePlatform();
const opened: string[] = [];
const open: typeof node.files.open = (path) => {
  opened.push(path);
  return node.files.open(path);
};
const platform = { ...node, files: { ...node.files, open } };
const errors: unknown[] = [];
const host = { folder, models: async () => [], isTaken: async () => false };
const studio = createStudio(platform, host, (error) => errors.push(error));
const tokens: string[] = [];
const server = createStudioServer(studio, {
  page: async (path) =>
    path === "/index.html" ? { bytes: new TextEncoder().encode("<p>"), type: "text/html", lasting: false } : undefined,
  onToken: (token) => tokens.push(token),
  onError: (error) => errors.push(error),
});

afterAll(async () => {
  await studio.close();
  await platform.dispose();
  rmSync(work, { recursive: true, force: true });
  expect(errors).toEqual([]);
});

let key = "";
const post = (path: string, body: BodyInit, headers: Record<string, string> = {}) =>
  server.fetch(
    new Request(`http://127.0.0.1/v1/lowrank/${path}`, {
      method: "POST",
      body,
      headers: { "content-type": "application/json", authorization: `Bearer ${key}`, ...headers },
    }),
  );

async function call<N extends keyof typeof CALLS>(name: N, request: RequestOf<N>): Promise<ReplyOf<N>> {
  const reply = await post(name, JSON.stringify(request));
  const body = await reply.json();
  if (!reply.ok) throw new Error(body.error.message);
  return body as ReplyOf<N>;
}

async function stream<N extends keyof typeof STREAMS>(name: N, request: RequestOf<N>): Promise<EventOf<N>[]> {
  const text = await (await post(name, JSON.stringify(request))).text();
  return text
    .split("\n\n")
    .filter(Boolean)
    .map((part) => JSON.parse(part.slice("data: ".length)));
}

const session = (token: string) => post("session", JSON.stringify({ token }));

describe("who is let in", () => {
  it("trades the token of an address once for the key that every route asks for", async () => {
    expect((await post("about", "{}")).status).toBe(401);
    expect((await session("0".repeat(32))).status).toBe(401);
    const reply = await session(server.token);
    expect(reply.status).toBe(200);
    key = (await reply.json()).key;
    expect((await session(server.token)).status).toBe(401);
    expect(tokens).toHaveLength(1);
    expect((await call("about", {})).folder).toBe(folder);
  });

  it("refuses other names of this machine and pages of other origins, and serves its page under a strict policy", async () => {
    expect((await post("about", "{}", { host: "rebound.example.org" })).status).toBe(403);
    expect((await post("about", "{}", { origin: "https://example.org" })).status).toBe(403);
    const page = await server.fetch(new Request("http://127.0.0.1/"));
    expect(await page.text()).toBe("<p>");
    const policy = page.headers.get("content-security-policy");
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toContain("unsafe");
    expect((await server.fetch(new Request("http://127.0.0.1/..%2fpackage.json"))).status).toBe(404);
  });

  it("names what is wrong with a request", async () => {
    await expect(call("row" as "rows", { settings: {} })).rejects.toThrow("did you mean rows?");
    await expect(call("rows", { settings: {}, cuont: 3 } as never)).rejects.toThrow("did you mean 'count'?");
    await expect(call("plan", { settings: { base: TINY, "data.train": "x", "lora.rank": "8" } })).rejects.toThrow(
      "lora.rank: unknown key; did you mean lora.r?",
    );
    await expect(call("run", { folder: work })).rejects.toThrow("no run of this name");
    mkdirSync(join(work, "other"));
    writeFileSync(join(work, "other", ".lowrank"), '{"kind":"run","format_version":1}');
    const above = `${folder}/../other`;
    await expect(call("delete", { folder: above })).rejects.toThrow("no run of this name");
  });
});

/** A file whose columns have names of their own, one row twice, and markup in a cell. */
const CSV = [
  "ask,reply",
  ...["Where does Ada live?,By the sea.", "What does Ada drink?,<b>mint</b> tea.", "Where does Ada live?,By the sea."],
  ...["Who is Ada?,A sailor.", "What is new?,Nothing.", "Who is Ben?,A baker."],
].join("\n");

const settings = () => ({
  base: TINY,
  "data.train": join(folder, "data", "facts.csv"),
  "data.format": "prompt_completion",
  "data.columns": '{"prompt": "ask", "completion": "reply"}',
  "data.max_seq_len": "64",
  threads: "1",
});

describe("rows", () => {
  it("takes a dropped file, and says which columns it has", async () => {
    const reply = await post("upload?name=..%2Ffacts.csv", CSV, { "content-type": "text/csv" });
    expect(await reply.json()).toEqual({ path: join(folder, "data", "facts.csv") });
    const again = await post("upload?name=facts.csv", "a,b\n1,2\n", { "content-type": "text/csv" });
    expect((await again.json()).path).toBe(join(folder, "data", "facts-2.csv"));
    const found = await call("columns", { path: settings()["data.train"] });
    expect(found.columns.map(({ name }) => name)).toEqual(["ask", "reply"]);
    expect(found.format).toBeNull();
    expect(found.problem).toContain("its keys are ask, reply");
  });

  it("shows them token by token, what is learned, and what is there twice or in both parts", async () => {
    const all = await call("rows", { settings: settings(), count: 3 });
    expect(all.samples).toEqual({ train: 6, validation: 0 });
    expect(all.duplicates.rows).toEqual([[0, 2]]);
    const [row] = all.page[1]!.sequences;
    expect(row!.tokens.map(([text]) => text).join("")).toContain("<b>mint</b> tea.");
    const learned = row!.tokens.filter(([, mark]) => mark === 1).map(([text]) => text);
    expect(learned.join("")).toContain("<b>mint</b> tea.");
    expect(learned.join("")).not.toContain("drink");
    expect(all.histogram.reduce((sum, { count }) => sum + count, 0)).toBe(6);
    const held = await call("rows", { settings: { ...settings(), "data.validation": settings()["data.train"] } });
    expect(held.leaks.count).toBe(6);
    expect(held.leaks.rows[0]).toMatchObject({ validation: 0, train: 0, what: "row" });
  });

  it("shows pairs side by side", async () => {
    const pairs = '{"prompt": "Hi", "chosen": "Ahoy!", "rejected": "Hello."}\n';
    const { path } = await (await post("upload?name=pairs.jsonl", pairs)).json();
    expect((await call("columns", { path })).kind).toBe("pairs");
    const asked = { base: TINY, "data.train": path, "objective.name": "dpo" };
    const { page } = await call("rows", { settings: asked });
    expect(page[0]!.sequences.map(({ side }) => side)).toEqual(["chosen", "rejected"]);
  });
});

it("reads rows once for the memory of every base_precision, and for the plan", async () => {
  const asked = { settings: { ...settings(), "data.max_seq_len": "63", max_steps: "1" } };
  const rows = asked.settings["data.train"];
  opened.length = 0;
  const { precisions } = await call("fits", asked);
  expect(new Set(precisions.map(({ peak_bytes }) => peak_bytes)).size).toBeGreaterThan(3);
  const [one] = precisions.filter(({ precision }) => precision === "f32");
  expect((await call("plan", asked)).peak_bytes).toBe(one!.peak_bytes);
  expect(opened.filter((path) => path === rows)).toHaveLength(1);
});

it("says settings as YAML and as a command line, and what is wrong with them", async () => {
  const given = { base: "models/tiny", "data.train": "my rows.csv", "lora.r": "x" };
  const { yaml, command, problems } = await call("config", { settings: given });
  expect(command).toBe("lowrank train base=models/tiny 'data.train=my rows.csv' lora.r=x");
  expect(yaml).toBe("base: models/tiny\ndata:\n  train: my rows.csv\nlora:\n  r: x\n");
  expect(problems.map((problem) => problem.key)).toEqual(["lora.r"]);
});

it("trains, is stopped and goes on, and answers with the base and the adapter", async () => {
  mkdirSync(join(folder, "data"), { recursive: true });
  const rows = firstRows(join(folder, "data", "rows.jsonl"), 24);
  const asked = {
    ...{ base: TINY, "data.train": rows, "data.max_seq_len": "128", threads: "1", batch_size: "8" },
    ...{ "optimizer.lr": "5e-3", "lora.target_modules": "all-linear", max_steps: "8", "schedule.name": "constant" },
  };
  const { folder: run } = await call("start", { settings: asked, name: "facts" });
  expect(run).toBe(join(folder, "facts"));
  await expect(call("start", { settings: asked })).rejects.toThrow("is training");
  await expect(call("delete", { folder: run })).rejects.toThrow("being trained");
  await expect(call("discard", { path: rows })).rejects.toThrow("the run facts uses it; stop it first");
  await until(async () => (await call("run", { folder: run })).rows >= 2);
  await call("stop", { folder: run });
  await until(async () => (await call("run", { folder: run })).run.state === "stopped");
  const needs = async () => (await call("stored", {})).files.find(({ path }) => path === rows)?.needed_by;
  expect(await needs()).toEqual(["facts"]);
  await call("resume", { folder: run });
  await until(async () => (await call("run", { folder: run })).run.state === "done");
  const { run: about, metrics } = await call("run", { folder: run });
  expect(metrics.map((row) => row.step)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  expect(about).toMatchObject({ step: 8, total_steps: 8, adapter: join(run, "adapter"), base: TINY });
  expect(about.settings).toMatchObject({ "optimizer.lr": "0.005", "lora.target_modules": "all-linear" });

  const say = async (more: Partial<RequestOf<"generate">>) =>
    (await stream("generate", { base: TINY, question: "Where does Tomas live?", max_new_tokens: 12, ...more }))
      .map((event) => (event.type === "text" ? event.text : ""))
      .join("");
  const [base, tuned, off] = [await say({}), await say({ adapter: run }), await say({ adapter: run, scale: 0 })];
  expect(tuned).not.toBe(base);
  expect(off).toBe(base);

  await call("note", { folder: run, text: "the first" });
  const { runs } = await call("runs", {});
  expect(runs.map(({ name, notes }) => [name, notes])).toEqual([["facts", "the first"]]);
  const { targets } = await call("targets", { base: TINY, adapter: run });
  expect(targets.map(({ name }) => name)).toContain("gguf-lora");
  const exported = await call("export", { base: TINY, adapter: run, to: "gguf-lora", name: "facts" });
  expect(exported.output).toBe(join(folder, "exports", "facts.gguf"));
  const told = targets.find(({ name }) => name === "gguf-lora")!.types.find(({ type }) => type === "f32")!.bytes;
  const real = exported.files.reduce((sum, { bytes }) => sum + bytes, 0);
  expect(told / real).toBeGreaterThan(0.7);
  expect(told / real).toBeLessThan(1.1);
  await call("delete", { folder: run });
  expect((await call("runs", {})).runs).toEqual([]);

  const { files, quota_bytes } = await call("stored", {});
  expect(quota_bytes).toBeNull();
  const [data, gguf] = [join(folder, "data", "facts.csv"), join(folder, "exports", "facts.gguf")];
  expect(files.map(({ path, kind }) => [path, kind])).toEqual(
    expect.arrayContaining([
      [data, "rows"],
      [gguf, "export"],
    ]),
  );
  expect(files.find(({ path }) => path === gguf)!.bytes).toBe(real);
  await call("discard", { path: gguf });
  expect((await call("stored", {})).files.map(({ path }) => path)).not.toContain(gguf);
  expect(await needs()).toEqual([]);
  await expect(call("discard", { path: TINY })).rejects.toThrow("nothing of this name is kept beside the runs");
  await expect(call("discard", { path: `${folder}/data` })).rejects.toThrow("nothing of this name");
}, 60_000);

/** Asks again until something holds. */
async function until(holds: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 400; i++) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("it did not come to that within 20 s");
}
