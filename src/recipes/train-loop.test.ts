import { beforeEach, describe, expect, it } from "vitest";
import { memoryPlatform } from "../../test/memory-platform.js";
import { createBatches } from "../data/batches.js";
import type { Sample } from "../data/sample.js";
import { type Files, join } from "../formats/files.js";
import { memoryFiles } from "../formats/memory-files.js";
import { f32, type HostTensor } from "../tensor/index.js";
import { checkpointSteps } from "../training/checkpoints.js";
import { readMetrics } from "../training/metrics.js";
import type { StepResult, Trainer, TrainerState } from "../training/trainer.js";
import { resolveConfig } from "./config.js";
import type { TrainOptions } from "./config-schema.js";
import { asRun, type TrainEvent } from "./events.js";
import { openRunFolder } from "./run-folder.js";
import { MAX_SKIPPED_STEPS, type TrainLoop, trainLoop } from "./train-loop.js";

const NAME = "model.layers.0.self_attn.q_proj.lora_B.weight";
const rows: Sample[] = Array.from({ length: 10 }, (_, index) => ({
  index,
  ids: Int32Array.of(index, index + 1, 7),
  supervised: Uint8Array.of(0, 1, 1),
}));

/** A stand-in with Adam's kind of memory: what it does next depends on parameters, moments and step, and nothing else. */
function fakeTrainer({ badSteps = [] as number[], badGradients = [] as number[] } = {}): Trainer {
  let state: TrainerState = { step: 0, ...vectors(1, 0, 0) };
  let calls = 0;
  return {
    trainableParameters: 1,
    totalParameters: 100,
    async step(microBatches, { lr }): Promise<StepResult> {
      calls++;
      const samples = microBatches.flat();
      const tokens = samples.reduce((n, s) => n + s.ids.length, 0);
      const badGradient = badGradients.includes(calls);
      const applied = !badSteps.includes(calls) && !badGradient;
      const [p, m, v] = [state.parameters, ...state.slots.values()].map((x) => Number(x.get(NAME)!.data[0]));
      const gradient = samples.reduce((sum, s, i) => sum + Math.sin(p! * s.index + i), 0.01);
      const first = 0.9 * m! + 0.1 * gradient;
      const second = 0.99 * v! + 0.01 * gradient * gradient;
      if (applied) {
        const update = (lr * first) / (Math.sqrt(second) + 1e-8) / (state.step + 1);
        state = { step: state.step + 1, ...vectors(p! - update, first, second) };
      }
      const gradNorm = applied ? Math.abs(gradient) : Number.NaN;
      const loss = badGradient ? Math.abs(gradient) : gradNorm;
      return { loss, metrics: {}, gradNorm, tokens, supervisedTokens: 2 * samples.length, applied };
    },
    async validate() {
      const p = Number(state.parameters.get(NAME)!.data[0]);
      return { loss: p * p, metrics: {} };
    },
    state: async () => state,
    values: async () => state.parameters,
    async restore(saved) {
      state = saved;
    },
    peakMemoryBytes: () => 123,
    dispose: async () => {},
  };
}

function vectors(p: number, m: number, v: number) {
  const of = (x: number): Map<string, HostTensor> => new Map([[NAME, f32([1], [x])]]);
  return { parameters: of(p), slots: new Map(Object.entries({ first: of(m), second: of(v) })) };
}

/** Two rows a micro-batch, two micro-batches a step: three steps an epoch, the last of them smaller. */
const stream = () => createBatches(rows, { batchSize: 2, accumulation: 2, seed: 1 });

let files: Files;
beforeEach(() => {
  files = memoryFiles();
});

type Override = Partial<TrainLoop> & { options?: Partial<TrainOptions> };

function loop({ options, ...override }: Override = {}): TrainLoop {
  const config = resolveConfig({
    base: "b",
    data: { train: "t", validation: "v" },
    outputDir: "run",
    gradientAccumulationSteps: 2,
    epochs: 3,
    saveEvery: 2,
    evalEvery: 3,
    optimizer: { lr: 0.1 },
    ...options,
  });
  return {
    config,
    trainer: fakeTrainer(),
    batches: stream(),
    validation: [rows.slice(0, 2)],
    identity: { base: "hash of b", data: "hash of t", seed: 42, lora: config.lora },
    save: (folder, parameters) => {
      const bytes = new Uint8Array((parameters.get(NAME)!.data as Float32Array).slice().buffer);
      return files.makeFolder(folder).then(() => files.write(join(folder, "adapter"), bytes));
    },
    platform: memoryPlatform(files),
    resume: false,
    ...override,
  };
}

async function collect(parts: TrainLoop, until?: (event: TrainEvent) => void) {
  const events: TrainEvent[] = [];
  const run = asRun(trainLoop(parts));
  for await (const event of run) {
    events.push(event);
    until?.(event);
  }
  return { events, result: await run.result() };
}

/** Steps and losses without clocks: what has to be the same. */
async function losses() {
  const text = new TextDecoder().decode(await files.read("run/metrics.jsonl"));
  return readMetrics(text).map((row) =>
    "loss" in row ? [row.step, row.loss, row.learningRate] : [row.step, row.evalLoss],
  );
}

async function uninterrupted(options: Partial<TrainOptions> = {}) {
  const parts = loop({ options });
  await collect(parts);
  const outcome = { state: await parts.trainer.state(), losses: await losses() };
  files = memoryFiles();
  return outcome;
}

describe("trainLoop", () => {
  it("writes one metrics row a step, eval rows, checkpoints, best adapter, chart and TensorBoard file", async () => {
    const { events, result } = await collect(loop());
    expect(result).toMatchObject({ step: 9, totalSteps: 9, interrupted: false, outputDir: "run" });
    const kinds = (type: string) => events.filter((event) => event.type === type);
    expect(kinds("step")).toHaveLength(9);
    expect(kinds("eval").map((e) => "metrics" in e && e.metrics.step)).toEqual([3, 6, 9]);
    expect(kinds("checkpoint").map((e) => "step" in e && e.step)).toEqual([2, 4, 6, 8, 9]);
    expect(await checkpointSteps(files, "run/checkpoints")).toEqual([9, 8]);
    expect(await files.list("run")).toEqual(["checkpoints", "config.yaml", "loss.svg", "metrics.jsonl", "tensorboard"]);
    expect(await files.stat("run/checkpoints/best/adapter")).toBeDefined();
    expect(await files.stat("run/checkpoints/step-9/adapter/adapter")).toBeDefined();
    const first = JSON.parse(new TextDecoder().decode(await files.read("run/metrics.jsonl")).split("\n")[0]!);
    expect(Object.keys(first)).toHaveLength(10);
  });

  it.each([1, 2, 3, 5, 8])("resumed after being stopped in step %i = uninterrupted, bit for bit", async (at) => {
    const expected = await uninterrupted();
    const control = new AbortController();
    const trainer = fakeTrainer();
    const step = trainer.step.bind(trainer);
    let calls = 0;
    // The signal comes while a step's micro-batches are being accumulated: the step is finished first.
    trainer.step = (...args) => {
      if (++calls === at) control.abort();
      return step(...args);
    };
    const stopped = await collect(loop({ trainer, signal: control.signal }));
    expect(stopped.result).toMatchObject({ interrupted: true, step: at });
    expect(await checkpointSteps(files, "run/checkpoints")).toContain(at);
    const parts = loop({ resume: true });
    const { result } = await collect(parts);
    expect(result).toMatchObject({ step: 9, interrupted: false });
    expect(await parts.trainer.state()).toEqual(expected.state);
    expect(await losses()).toEqual(expected.losses);
  });

  it("a run killed between checkpoints resumes from the last one to the same bytes", async () => {
    const expected = await uninterrupted();
    const run = trainLoop(loop());
    for (let event = await run.next(); !(event.value as TrainEvent).type.startsWith("eval"); event = await run.next());
    await files.makeFolder("run/checkpoints/step-3.partial");
    const parts = loop({ resume: true });
    const { events } = await collect(parts);
    expect(events[0]).toMatchObject({ type: "note", message: expect.stringContaining("resuming after step 2") });
    expect(await parts.trainer.state()).toEqual(expected.state);
    expect(await losses()).toEqual(expected.losses);
  });

  it("resume with another base, rank, data or seed is refused, naming the difference", async () => {
    await collect(loop());
    const changed = { base: "hash of c", data: "hash of t", seed: 43, lora: { ...loop().config.lora, r: 4 } };
    const error = await collect(loop({ resume: true, identity: changed })).catch((e: Error) => e.message);
    expect(error).toContain('base: was "hash of b", is "hash of c"');
    expect(error).toContain("seed: was 42, is 43");
    expect(error).toContain('"r":4');
    expect(error).not.toContain("data:");
  });

  it("a base's hash as an earlier version wrote it is no difference", async () => {
    const [before, now] = [{ base: "hash and name" }, { base: "hash" }];
    await collect(loop({ identity: before }));
    await expect(collect(loop({ resume: true, identity: now }))).rejects.toThrow(
      'base: was "hash and name", is "hash"',
    );
    const { events } = await collect(loop({ resume: true, identity: now, formerIdentity: before }));
    expect(events[0]).toMatchObject({ message: expect.stringContaining("resuming after step") });
  });

  it.each([
    null,
    {},
    { cursor: null },
    { cursor: { epoch: "0", step: 1 } },
    { cursor: { epoch: 0, step: -1 } },
    { identity: null },
    { skipped: 1.5 },
    { bestEvalLoss: "low" },
    { elapsedSeconds: "long" },
  ])("a checkpoint that remembers %j is passed over, named", async (change) => {
    await collect(loop());
    const path = "run/checkpoints/step-9";
    const read = async (name: string) => JSON.parse(new TextDecoder().decode(await files.read(join(path, name))));
    const state = await read("trainer_state.json");
    const progress = change && Object.keys(change).length > 0 ? { ...state.progress, ...change } : change;
    await files.write(join(path, "trainer_state.json"), JSON.stringify({ ...state, progress }));
    const seal = await read("complete.json");
    seal.sha256["trainer_state.json"] = await files.sha256(join(path, "trainer_state.json"));
    await files.write(join(path, "complete.json"), JSON.stringify(seal));
    const { events } = await collect(loop({ resume: true }));
    expect(events.slice(0, 2)).toMatchObject([
      { message: expect.stringMatching(/step-9 is damaged and passed over: .*trainer_state.json: progress/) },
      { message: expect.stringContaining("resuming after step 8") },
    ]);
  });

  it("a data place beyond the data is refused, the checkpoint named", async () => {
    await collect(loop());
    const short = { ...stream(), seek: () => createBatches(rows.slice(0, 2)).seek({ epoch: 0, step: 9 }) };
    await expect(collect(loop({ resume: true, batches: short }))).rejects.toThrow(
      /run\/checkpoints\/step-9: data: cannot continue/,
    );
  });

  it("says so when there is nothing to resume from, and starts", async () => {
    const { events, result } = await collect(loop({ resume: true }));
    expect(events[0]).toMatchObject({ message: expect.stringContaining("starting at the beginning") });
    expect(result.step).toBe(9);
  });

  it("NaN or Inf in loss or gradient: not applied, step and rows said, counted on over a resume", async () => {
    const trainer = fakeTrainer({ badSteps: [2, 4], badGradients: [5] });
    const { events, result } = await collect(loop({ trainer }));
    expect(result.step).toBe(9);
    expect((await trainer.state()).step).toBe(6);
    const skipped = events.filter((event) => event.type === "skipped");
    expect(skipped.map(({ step, what }) => [step, what])).toEqual([
      [2, "loss"],
      [4, "loss"],
      [5, "gradient"],
    ]);
    const batches = stream();
    batches.next();
    const rowsOfStep2 = batches
      .next()
      .flat()
      .map((sample) => sample.index);
    expect(skipped[0]!.rows).toEqual(rowsOfStep2);
    const line = new TextDecoder().decode(await files.read("run/metrics.jsonl")).split("\n")[1]!;
    expect(JSON.parse(line)).toMatchObject({ step: 2, loss: null, grad_norm: null });
  });

  it(`stops after ${MAX_SKIPPED_STEPS} steps in a row that are not finite, the last checkpoint intact`, async () => {
    const trainer = fakeTrainer({ badSteps: [3, 5, 6, 7, 8, 9], badGradients: [4] });
    const error = await collect(loop({ trainer })).catch((e: Error) => e);
    expect((error as Error).name).toBe("UserError");
    expect((error as Error).message).toMatch(/3 steps in a row; stopped at step 5 \(rows [\d, ]+\)/);
    expect(await checkpointSteps(files, "run/checkpoints")).toEqual([4, 2]);
  });

  it("a full disk stops the run with the earlier checkpoint intact", async () => {
    let room = Number.POSITIVE_INFINITY;
    const small: Files = {
      ...files,
      write: (path, content) => (room-- > 0 ? files.write(path, content) : Promise.reject(new Error("disk full"))),
    };
    const parts = loop({ platform: { ...memoryPlatform(files), files: small } });
    const failed = collect(parts, (event) => {
      if (event.type === "checkpoint" && event.step === 4) room = 2;
    });
    await expect(failed).rejects.toThrow("disk full");
    const { events } = await collect(loop({ resume: true }));
    expect(events[0]).toMatchObject({ message: expect.stringContaining("resuming after step 4") });
  });
});

describe("early stopping and the best adapter", () => {
  /** Validation losses after steps 1, 2, ...: no gain in steps 3 and 4, one of 0.05 in step 5, none from then on. */
  const LOSSES = [5, 4, 4.5, 4, 3.95, 4, 4.1, 3.99, 4];
  const scripted = (): Trainer => {
    const trainer = fakeTrainer();
    return { ...trainer, validate: async () => ({ loss: LOSSES[(await trainer.state()).step - 1]!, metrics: {} }) };
  };
  const options = (more: Partial<TrainOptions> = {}): Partial<TrainOptions> => ({
    evalEvery: 1,
    saveEvery: 2,
    ...more,
  });
  const run = (more: Partial<TrainOptions>, parts: Override = {}) =>
    collect(loop({ trainer: scripted(), ...parts, options: options(more) }));

  it.each<[Partial<TrainOptions>, number, number | undefined]>([
    [{}, 9, 5],
    [{ earlyStoppingPatience: 2 }, 4, 2],
    [{ earlyStoppingPatience: 3 }, 8, 5],
    [{ earlyStoppingPatience: 3, earlyStoppingThreshold: 0.1 }, 5, 5],
    [{ earlyStoppingPatience: 1, greaterIsBetter: true }, 2, 1],
  ])("%j ends after step %i, the best is step %i's", async (more, last, best) => {
    const { events, result } = await run(more);
    expect(result).toMatchObject({ step: last, interrupted: false, best: { name: "eval_loss", step: best } });
    expect(result.stoppedEarly ?? false).toBe(last < 9);
    expect(result.best!.value).toBe(LOSSES[best! - 1]);
    expect(events.some((event) => "message" in event && event.message.startsWith("stopped early"))).toBe(last < 9);
    expect(await checkpointSteps(files, "run/checkpoints")).toContain(last);
  });

  it.each([1, 2, 3, 4, 5, 6, 7])("stopped in step %i and resumed, it ends where it would have", async (at) => {
    const patient = { earlyStoppingPatience: 3 };
    const expected = await run(patient);
    const [written, best] = [await losses(), await files.read("run/checkpoints/best/adapter")];
    files = memoryFiles();
    const control = new AbortController();
    const stopped = loop({ trainer: scripted(), signal: control.signal, options: options(patient) });
    await collect(stopped, (event) => {
      if (event.type === "step" && event.metrics.step === at) control.abort();
    });
    const { result } = await run(patient, { resume: true });
    expect(result).toEqual(expected.result);
    expect(await losses()).toEqual(written);
    expect(await files.read("run/checkpoints/best/adapter")).toEqual(best);
  });

  it("a run that stopped early ends at once when it is resumed, and goes on with more patience", async () => {
    await run({ earlyStoppingPatience: 2 });
    const again = await run({ earlyStoppingPatience: 2 }, { resume: true });
    expect(again.result).toMatchObject({ step: 4, stoppedEarly: true });
    expect(again.events.some(({ type }) => type === "step")).toBe(false);
    const longer = await run({ earlyStoppingPatience: 3 }, { resume: true });
    expect(longer.result).toMatchObject({ step: 8, best: { step: 5 } });
  });

  it("a checkpoint that knows the lowest loss alone goes on from it", async () => {
    const control = new AbortController();
    const parts = loop({ trainer: scripted(), signal: control.signal, options: options() });
    await collect(parts, (event) => {
      if (event.type === "step" && event.metrics.step === 2) control.abort();
    });
    const path = "run/checkpoints/step-2";
    const read = async (name: string) => JSON.parse(new TextDecoder().decode(await files.read(join(path, name))));
    const state = await read("trainer_state.json");
    const { bestMetric: _, bestStep: __, unimproved: ___, ...progress } = state.progress;
    await files.write(join(path, "trainer_state.json"), JSON.stringify({ ...state, progress }));
    const seal = await read("complete.json");
    seal.sha256["trainer_state.json"] = await files.sha256(join(path, "trainer_state.json"));
    await files.write(join(path, "complete.json"), JSON.stringify(seal));
    const { events } = await run({}, { resume: true });
    const evals = events.flatMap((event) => (event.type === "eval" ? [event.best] : []));
    expect(evals).toEqual([false, false, true, false, false, false, false]);
  });

  it("a figure that evaluations do not have is refused, naming those that there are", async () => {
    await expect(run({ metricForBestModel: "eval_accuracy" })).rejects.toThrow(
      "metric_for_best_model: the evaluations of this run have no eval_accuracy; they have eval_loss",
    );
  });
});

describe("openRunFolder", () => {
  it("refuses a folder with an earlier run's results unless it is resumed", async () => {
    const platform = memoryPlatform(files);
    await (await openRunFolder(platform, "run", false))();
    await collect(loop());
    await expect(openRunFolder(platform, "run", false)).rejects.toThrow("add `resume: true`");
    await (await openRunFolder(platform, "run", true))();
  });
});

describe("asRun", () => {
  it("result() drives a run that nobody iterates over, and rejects as the run does", async () => {
    expect((await asRun(trainLoop(loop())).result()).step).toBe(9);
    const bad = asRun(trainLoop(loop({ resume: true, identity: {} })));
    await expect(bad.result()).rejects.toThrow("belongs to another run");
  });
});
