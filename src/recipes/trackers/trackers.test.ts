import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import type { Platform } from "../../platform/platform.js";
import type { TrainConfig } from "../config-schema.js";
import type { TrainEvent, TrainResult } from "../events.js";
import { reported } from "./reported.js";
import { wandbAt } from "./wandb.js";

/** What a test reads of JSON. */
type Json = ReturnType<typeof JSON.parse>;

// A server that answers as both services do and remembers what it was sent.
interface Sent {
  readonly path: string;
  readonly authorization: string | undefined;
  readonly body: Record<string, Json>;
}
let sent: Sent[] = [];
let down = false;
const ANSWERS: readonly (readonly [RegExp, number, object])[] = [
  [/experiments\/get-by-name/, 404, { error_code: "RESOURCE_DOES_NOT_EXIST" }],
  [/experiments\/create/, 200, { experiment_id: "7" }],
  [/runs\/create/, 200, { run: { info: { run_id: "r1" } } }],
  [
    /graphql/,
    200,
    { data: { upsertBucket: { bucket: { name: "b1", project: { name: "p", entity: { name: "e" } } } } } },
  ],
];
const server = createServer(async (request, reply) => {
  const text = await textOf(request);
  const path = request.url!;
  if (down && /log-batch|file_stream/.test(path)) return reply.writeHead(503).end("busy");
  sent.push({ path, authorization: request.headers.authorization, body: text ? JSON.parse(text) : {} });
  const [, status, answer] = ANSWERS.find(([pattern]) => pattern.test(path)) ?? [null, 200, {}];
  reply.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(answer));
});
async function textOf(request: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of request) text += chunk;
  return text;
}
let url: string;
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
beforeEach(() => {
  [sent, down] = [[], false];
});
afterAll(() => void server.close());

let clock = 1_000_000;
const platformWith = (more: Record<string, string>) => {
  const variables = { MLFLOW_TRACKING_URI: url, WANDB_BASE_URL: url, WANDB_API_KEY: "key", ...more };
  const variable = (name: string) => (variables as Record<string, string>)[name] || undefined;
  return { now: () => clock, variable } as Partial<Platform> as Platform;
};
const config = {
  outputDir: "runs/one",
  reportTo: ["mlflow", "wandb"],
  lora: { r: 8 },
  seed: 1,
} as unknown as TrainConfig;

async function* training(steps: number, fails = false): AsyncGenerator<TrainEvent, TrainResult> {
  for (let step = 1; step <= steps; step++) {
    clock += 6000; // rows are sent after five seconds
    const loss = step === 2 ? Number.NaN : 1 / step;
    const metrics = { step, epoch: step, loss, learningRate: 0.5, gradNorm: 1, elapsedSeconds: step } as never;
    yield { type: "step", metrics, totalSteps: steps };
    if (fails && step === 2) throw new Error("broken");
  }
  yield { type: "eval", metrics: { step: steps, epoch: 1, evalLoss: 0.25, elapsedSeconds: 9 }, best: true };
  return { outputDir: "runs/one", step: steps, totalSteps: steps, interrupted: false };
}

async function all(run: AsyncGenerator<TrainEvent, TrainResult>): Promise<string[]> {
  const notes: string[] = [];
  for await (const event of run) if (event.type === "note") notes.push(event.message);
  return notes;
}
const bodies = (pattern: RegExp) => sent.filter(({ path }) => pattern.test(path)).map(({ body }) => body);

it("nothing is sent unless a tracker is named", async () => {
  await all(reported(training(3), { ...config, reportTo: [] }, platformWith({})));
  expect(sent).toEqual([]);
});

it("both get the config, every finite figure once and in order, and how it ended", async () => {
  const notes = await all(reported(training(3), config, platformWith({})));
  expect(notes.map((note) => note.split(":")[0])).toEqual(["MLflow", "Weights & Biases"]);
  expect(bodies(/experiments\/create/)).toEqual([{ name: "lowrank" }]);
  expect(bodies(/runs\/create/)).toMatchObject([{ experiment_id: "7", run_name: "one" }]);
  const batches = bodies(/log-batch/);
  expect(batches[0]!.params).toContainEqual({ key: "lora.r", value: "8" });
  const metrics = batches.flatMap(({ metrics = [] }) => metrics);
  const of = (key: string) => metrics.filter((one) => one.key === key).map(({ step, value }) => [step, value]);
  expect(of("train/loss")).toEqual([
    [1, 1],
    [3, 1 / 3],
  ]);
  expect(of("train/learning_rate")).toHaveLength(3);
  expect(of("eval/loss")).toEqual([[3, 0.25]]);
  expect(bodies(/runs\/update/)).toMatchObject([{ run_id: "r1", status: "FINISHED" }]);

  const [{ variables }] = bodies(/graphql/) as [Record<string, Json>];
  expect(variables).toMatchObject({ project: "lowrank", displayName: "one", entity: null });
  expect(JSON.parse(variables.config)["lora.r"]).toEqual({ value: 8 });
  const streams = sent.filter(({ path }) => path === "/files/e/p/b1/file_stream");
  expect(new Set(streams.map(({ authorization }) => authorization))).toEqual(new Set([`Basic ${btoa("api:key")}`]));
  const chunks = streams.flatMap(({ body }) => (body.files ? [body.files["wandb-history.jsonl"]] : []));
  const lines = chunks.flatMap(({ content }) => content.map((line: string) => JSON.parse(line)));
  expect(lines.map((line) => line._step)).toEqual([0, 1, 2, 3]);
  expect(lines.map((line) => line["train/loss"] ?? line["eval/loss"] ?? null)).toEqual([1, null, 1 / 3, 0.25]);
  expect(chunks.map(({ offset }) => offset)).toEqual(
    [...chunks.keys()].map((i) => chunks.slice(0, i).reduce((n, { content }) => n + content.length, 0)),
  );
  expect(streams.at(-1)!.body).toEqual({ complete: true, exitcode: 0 });
});

it("one that is lost is noted once and gets everything when it is back; training goes on", async () => {
  const run = reported(training(4), { ...config, reportTo: ["mlflow"] }, platformWith({}));
  const notes: string[] = [];
  for await (const event of run) {
    if (event.type === "note") notes.push(event.message);
    if (event.type === "step") down = event.metrics.step < 4;
  }
  expect(notes.filter((note) => note.includes("503"))).toHaveLength(1);
  const steps = bodies(/log-batch/).flatMap(({ metrics = [] }) =>
    metrics.filter((one: Json) => one.key === "train/grad_norm"),
  );
  expect(steps.map(({ step }) => step)).toEqual([1, 2, 3, 4]);
});

it("a failed run is said to have failed; a job's place stands before the environment's", async () => {
  const run = reported(training(4, true), { ...config, reportTo: [] }, platformWith({ WANDB_PROJECT: "env" }), [
    wandbAt({ project: "support", tags: ["a"] }),
  ]);
  await expect(all(run)).rejects.toThrow("broken");
  expect(bodies(/graphql/)[0]!.variables).toMatchObject({ project: "support", tags: ["a"] });
  expect(bodies(/file_stream/).at(-1)).toEqual({ complete: true, exitcode: 1 });
});

it.each([
  [{ MLFLOW_TRACKING_URI: "" }, /set MLFLOW_TRACKING_URI/],
  [{ MLFLOW_TRACKING_URI: "file:mlruns" }, /MLFLOW_TRACKING_URI: expected an address/],
  [{ MLFLOW_TRACKING_URI: "http://127.0.0.1:9" }, /MLflow .*cannot be reached/],
  [{ WANDB_API_KEY: "" }, /set WANDB_API_KEY/],
])("%j ends the run before it computes anything", async (variables, why) => {
  let computed = false;
  async function* never(): AsyncGenerator<TrainEvent, TrainResult> {
    computed = true;
    yield* [];
    return {} as TrainResult;
  }
  await expect(all(reported(never(), config, platformWith(variables as never)))).rejects.toThrow(why);
  expect(computed).toBe(false);
});
