// A server under load: many streaming clients on eight adapters, a quarter with a schema, a quarter with tools, a tenth that leave in
// the middle; first without, then with a fine-tuning job beside them. Every answer is compared with what the server said when it was
// asked that alone. Prints one JSON line. Options: --model models/tiny (folder or file), --clients 16 (several: 16,64), --seconds 30 a
// phase, --tokens 64 an answer, --threads 2, --slots 16.
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { startServer } from "../test/serve/own-server.js";
import { startLoad } from "./load/clients.js";
import { startJob } from "./load/job.js";

const { values } = parseArgs({
  options: {
    model: { type: "string", default: fileURLToPath(new URL("../models/tiny", import.meta.url)) },
    clients: { type: "string", default: "16" },
    seconds: { type: "string", default: "30" },
    tokens: { type: "string", default: "64" },
    threads: { type: "string", default: "2" },
    slots: { type: "string", default: "16" },
  },
});
const ADAPTERS = 8;
/** Room for a description of tools. */
const CONTEXT = 2048;
const [seconds, maxTokens, threads, slots] = ["seconds", "tokens", "threads", "slots"].map((key) =>
  Number(values[key]),
);

const folder = mkdtempSync(join(tmpdir(), "lowrank-load-"));
const server = await startLoadedServer();
try {
  const load = await startLoad(server.url, { adapters: ADAPTERS, maxTokens });
  const alone = await jobAlone();
  const phases = [];
  for (const clients of values.clients.split(",").map(Number)) {
    phases.push(await phase(load, clients, false), await phase(load, clients, true));
  }
  const failures = await server.order("failures");
  const about = { system: "lowrank", model: values.model, threads, slots, seconds, max_tokens: maxTokens };
  console.log(JSON.stringify({ ...about, job_alone_steps_per_second: alone, phases, failures }));
} finally {
  await server.order("close");
  server.end();
  rmSync(folder, { recursive: true, force: true });
}

function startLoadedServer() {
  return startServer(roomy(values.model), {
    threads,
    baseId: "base",
    made: { folder: join(folder, "adapters"), count: ADAPTERS, scale: 0.05 },
    limits: { slots, queue: 1024 },
    seed: 1,
    fineTuning: { dataDir: join(folder, "jobs"), config: { threads, data: { maxSeqLen: 128 }, lora: { r: 8 } } },
  });
}

/** The model, or a copy of its folder that takes texts long enough. */
function roomy(path) {
  const file = join(path, "config.json");
  if (!existsSync(file)) return path;
  const config = JSON.parse(readFileSync(file, "utf8"));
  if (config.max_position_embeddings >= CONTEXT) return path;
  const copy = join(folder, "model");
  cpSync(path, copy, { recursive: true });
  writeFileSync(join(copy, "config.json"), JSON.stringify({ ...config, max_position_embeddings: CONTEXT }));
  return copy;
}

/** Steps a second of a job that has the device for itself. */
async function jobAlone() {
  const job = await startJob(server.url);
  const rate = await job.rate(Math.min(seconds, 10));
  await job.cancel();
  return rate;
}

/** What many clients at a time saw, and how memory went meanwhile. */
async function phase(load, clients, withJob) {
  const before = await server.order("memory");
  const job = withJob ? await startJob(server.url) : undefined;
  const samples = [];
  const began = performance.now();
  const timer = setInterval(
    async () => {
      const resident = await server.order("resident");
      samples.push([(performance.now() - began) / 60_000, resident / 2 ** 20]);
    },
    Math.min(1000, (1000 * seconds) / 10),
  );
  let over = false;
  const steps = (job ? job.rate(seconds) : sleep(seconds * 1000)).finally(() => {
    over = true;
  });
  const [rate, seen] = await Promise.all([steps, load.run(clients, () => !over)]);
  clearInterval(timer);
  await job?.cancel();
  const after = await server.order("memory");
  const grown = (key) => (after[key] - before[key]) / 2 ** 20;
  return {
    clients,
    job_steps_per_second: rate ?? null,
    ...seen,
    resident_mib: marks(samples.map(([, mib]) => Math.round(mib))),
    resident_slope_mib_per_minute: slope(samples.slice(samples.length >> 1)),
    heap_growth_mib: grown("heap"),
    buffer_growth_bytes: after.buffers - before.buffers,
  };
}

/** Ten values, or fewer, spread evenly over a list, the last one among them. */
function marks(list) {
  const count = Math.min(10, list.length);
  return Array.from({ length: count }, (_, i) => list[Math.ceil(((i + 1) * list.length) / count) - 1]);
}

/** The slope of the least-squares line through [x, y]. */
function slope(points) {
  const mean = (at) => points.reduce((sum, point) => sum + point[at], 0) / points.length;
  const [x, y] = [mean(0), mean(1)];
  const over = points.reduce((sum, point) => sum + (point[0] - x) * (point[1] - y), 0);
  return over / points.reduce((sum, point) => sum + (point[0] - x) ** 2, 0);
}
