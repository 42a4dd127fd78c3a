import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { INITS, type InitName, KIND_KEYS } from "../../src/adapters/index.js";
import { type LoadedModel, loadModel, type TrainOptions } from "../../src/node/index.js";
import { createAdapterRegistry } from "../../src/recipes/adapter-registry.js";
import { camelCase } from "../../src/recipes/names.js";
import { createServer, openFineTuning } from "../../src/server/index.js";
import { BASE } from "./tiny.js";

// Jobs whose operator asks for each kind of adapter and each start: they succeed, go on after a restart to the same bytes, and are gone on from.
type Lora = NonNullable<TrainOptions["lora"]>;
const CASES: [name: string, lora: Lora][] = [
  ...KIND_KEYS.map(([key]): [string, Lora] => [key, { [camelCase(key)]: true }]),
  ...(Object.keys(INITS) as InitName[]).map((init): [string, Lora] => [init, { init }]),
  ["modules_to_save", { modulesToSave: ["norm"] }],
];
const rows = `${readFileSync(join(BASE, "data/train.jsonl"), "utf8").split("\n").slice(0, 4).join("\n")}\n`;

let folder: string;
const models = new Map<string, LoadedModel>();
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-job-kinds-"));
  for (const basePrecision of ["f32", "nf4"] as const)
    models.set(basePrecision, await loadModel(BASE, { threads: 1, basePrecision }));
});
afterAll(async () => {
  for (const model of models.values()) await model.dispose();
  rmSync(folder, { recursive: true, force: true });
});

async function open(name: string, lora: Lora, more: Partial<TrainOptions> = {}) {
  const registry = createAdapterRegistry(models.get(lora.init === "loftq" ? "nf4" : "f32")!);
  const config = { data: { maxSeqLen: 64 }, lora: { r: 4, ...lora }, ...more };
  const fineTuning = await openFineTuning(registry, { dataDir: join(folder, name), baseId: "tiny", config });
  const server = createServer(registry, { baseId: "tiny", fineTuning });
  const send = async (path: string, body: BodyInit) => {
    const headers = typeof body === "string" ? { "content-type": "application/json" } : undefined;
    const reply = await server.fetch(new Request(`http://localhost/v1/${path}`, { method: "POST", body, headers }));
    return (await reply.json()) as { id: string; choices?: { message: { content: string } }[]; error?: object };
  };
  const form = new FormData();
  form.append("purpose", "fine-tune");
  form.append("file", new Blob([rows]), "rows.jsonl");
  const create = async (model = "tiny") => {
    const hyperparameters = { n_epochs: 3, batch_size: 2 };
    const training_file = (await send("files", form)).id;
    return (await send("fine_tuning/jobs", JSON.stringify({ model, training_file, seed: 5, hyperparameters }))).id;
  };
  const done = async (id: string) => {
    const job = () => fineTuning.jobs.get(id).object;
    await expect.poll(() => job().status, { timeout: 60_000, interval: 5 }).toMatch(/succeeded|failed/);
    expect(job().error).toBeNull();
    return job().fine_tuned_model!;
  };
  const close = async () => {
    await fineTuning.close();
    registry.dispose();
  };
  return { fineTuning, send, create, done, close };
}

const bytesOf = (name: string, id: string) =>
  readFileSync(join(folder, name, "jobs", id, "run/adapter/adapter_model.safetensors"));

describe.each(CASES)("jobs with %s", (name, lora) => {
  it("succeed, go on after a restart to the same bytes, answer, and are gone on from", async () => {
    const whole = await open(`${name} whole`, lora);
    const id = await whole.create();
    const model = await whole.done(id);
    const asked = { model, messages: [{ role: "user", content: "Who?" }], max_tokens: 2, temperature: 0 };
    const { choices } = await whole.send("chat/completions", JSON.stringify(asked));
    expect(choices![0]!.message.content).toBeTypeOf("string");
    await whole.done(await whole.create(model));
    await whole.close();

    const begun = await open(`${name} parts`, lora);
    const parts = await begun.create();
    await expect
      .poll(() => begun.fineTuning.jobs.get(parts).checkpoints.length, { timeout: 60_000, interval: 1 })
      .toBeGreaterThan(0);
    await begun.close();
    const again = await open(`${name} parts`, lora);
    await again.done(parts);
    await again.close();
    expect(bytesOf(`${name} parts`, parts).equals(bytesOf(`${name} whole`, id))).toBe(true);
  });
});

it("what no job could have is refused when the server starts", async () => {
  const cases: [Lora, Partial<TrainOptions>, RegExp][] = [
    [{}, { fullFinetune: true }, /full_finetune changes the base's own weights, which others use here/],
    [{}, { adapter: "runs/a" }, /adapter: what a job goes on from is its client's to say/],
    [{}, { basePrecision: "nf4" }, /held as f32 in memory: leave out base_precision/],
    [{ init: "loftq", loftqConfig: { loftqIter: 2 } }, {}, /loftq_iter: .* a base of its own/],
    [{ init: "loftq", loftqConfig: { loftqBits: 8 } }, {}, /loftq_bits 8 .* the base is held as nf4/],
  ];
  for (const [lora, more, message] of cases) await expect(open("refused", lora, more)).rejects.toThrow(message);
});
