import { join } from "../../formats/files.js";
import type { AdapterRegistry } from "../../recipes/adapter-registry.js";
import { bestMetric, SUITE } from "../../recipes/best.js";
import type { TrainConfig } from "../../recipes/config-schema.js";
import type { TrainEvent, TrainResult } from "../../recipes/events.js";
import { loraFinetune } from "../../recipes/lora-finetune.js";
import { OUTPUT } from "../../recipes/run-folder.js";
import { asAdapterHas } from "../../recipes/start-values.js";
import { wandbAt } from "../../recipes/trackers/wandb.js";
import { UserError } from "../../tensor/index.js";
import { inParameters } from "../errors.js";
import { advance, isOver, type Job, type JobStore } from "./jobs.js";
import type { FileStore } from "./uploads.js";
import type { CheckpointObject, JobObject } from "./wire.js";

/** What runs jobs: the stores, the model that is trained on and served, and the operator's settings. */
export interface Workshop {
  readonly registry: AdapterRegistry;
  readonly baseId: string;
  /** Keys that jobs start from. */
  readonly config: TrainConfig;
  readonly files: FileStore;
  readonly jobs: JobStore;
  newId(prefix: string): string;
  /** Told of errors that are not a client's. */
  onError(error: unknown): void;
}

/** Checkpoints of a job that are kept and served. */
const KEPT_CHECKPOINTS = 3;

const seconds = ({ registry }: Workshop): number => Math.floor(registry.model.platform.now() / 1000);

/** What clients call a job's result: `ft:BASE:SUFFIX:ID`. */
function modelName(baseId: string, { id, user_provided_suffix: suffix }: JobObject): string {
  return `ft:${baseId}:${suffix ?? ""}:${id.replace(/^ftjob-/, "")}`;
}

const runFolder = ({ jobs }: Workshop, job: Job): string => join(jobs.folder(job.object.id), "run");

/** The folders that a job's models are in, by their names. */
export function modelFolders(workshop: Workshop, job: Job): Map<string, string> {
  const run = runFolder(workshop, job);
  const { fine_tuned_model: name } = job.object;
  return new Map([
    ...(name === null ? [] : [[name, join(run, OUTPUT.adapter)] as const]),
    ...job.checkpoints.map(
      ({ fine_tuned_model_checkpoint: checkpoint, step_number }) =>
        [checkpoint, join(run, OUTPUT.checkpoints, `step-${step_number}`, OUTPUT.adapter)] as const,
    ),
  ]);
}

/** Serves the models of a job that are still there. */
export async function serveModels(workshop: Workshop, job: Job): Promise<void> {
  const { registry, onError } = workshop;
  for (const [name, folder] of modelFolders(workshop, job)) {
    if (!(await registry.model.platform.files.stat(folder))) continue;
    await registry.load(name, folder).catch(onError);
  }
}

/** Deaths of the server during one job after which it is not begun again. */
const MOST_DEATHS = 2;

/** Ends a job during which the server died too often: whatever killed it would kill the next server too. */
export async function endDeadly(workshop: Workshop, job: Job): Promise<void> {
  if ((job.begun ?? 0) < MOST_DEATHS) return;
  await fail(workshop, job, {
    code: "server_error",
    message: `the server died ${MOST_DEATHS} times while this job ran, so it is not begun again`,
  });
}

/** Ends a job with an error, unless it is over. */
async function fail(
  workshop: Workshop,
  job: Job,
  error: { readonly code: string; readonly message: string },
): Promise<void> {
  const { jobs, onError } = workshop;
  const more = { error: { ...error, param: "training_file" }, finished_at: seconds(workshop) };
  if (!advance(job, "failed", more)) return;
  await jobs.log(job, { level: "error", message: error.message }).catch(onError);
  await jobs.save(job).catch(onError);
}

/**
 * Runs a job to its end, or until the signal is aborted: then it is left as it is, a checkpoint written, unless it was cancelled.
 * What goes wrong ends the job, never the server.
 */
export async function runJob(workshop: Workshop, job: Job, signal: AbortSignal): Promise<void> {
  const { jobs, registry, onError } = workshop;
  try {
    const resume = (await registry.model.platform.files.stat(runFolder(workshop, job))) !== undefined;
    if (!advance(job, "validating_files")) return;
    job.begun = (job.begun ?? 0) + 1;
    await jobs.save(job);
    await jobs.log(job, { level: "info", message: resume ? "The job goes on" : "Validating training file" });
    const { model } = registry;
    const trackers = job.object.integrations.map(({ wandb }) =>
      wandbAt({ ...wandb, name: wandb.name ?? job.object.id }),
    );
    const run = loraFinetune(runConfig(workshop, job), model.platform, { resume, signal, model, trackers });
    const report = reporter(workshop, job);
    for await (const event of run) await report(event);
    const result = await run.result();
    if (!result.interrupted && !isOver(job.object)) await succeed(workshop, job, result);
  } catch (error) {
    if (signal.aborted || isOver(job.object)) return;
    const known = error instanceof UserError;
    if (!known) onError(error);
    await fail(workshop, job, {
      code: !known ? "server_error" : error.code === "invalid_rows" ? "invalid_training_file" : "invalid_job",
      message: known
        ? namedForClients(workshop, job, inParameters(error.message))
        : "the server failed; its log says why",
    });
  } finally {
    job.begun = 0;
    job.object.estimated_finish = null;
    await jobs.save(job).catch(onError);
  }
}

/** What jobs without validation rows cannot go by, whatever the operator's config asks of others. */
function withoutValidation({ evalSuite, metricForBestModel }: TrainConfig): Partial<TrainConfig> {
  const none = { metricForBestModel: null, greaterIsBetter: null };
  if (evalSuite === null)
    return { ...none, loadBestModelAtEnd: false, earlyStoppingPatience: null, earlyStoppingThreshold: 0 };
  return bestMetric({ validation: false, suite: true, ...none, metricForBestModel })!.name.startsWith(SUITE)
    ? {}
    : none;
}

function runConfig(workshop: Workshop, job: Job): TrainConfig {
  const { config, files, registry } = workshop;
  const { object } = job;
  const { n_epochs: epochs, batch_size: wanted, learning_rate_multiplier: multiplier } = object.hyperparameters;
  const { rows } = files.get(object.training_file);
  const perEpoch = Math.max(1, Math.ceil(rows / (wanted * config.gradientAccumulationSteps)));
  const { method } = object;
  const beta = method.type === "dpo" ? method.dpo.hyperparameters.beta : undefined;
  const most = beta === undefined ? config.batchSize : Math.max(1, config.batchSize >> 1); // a pair is two sequences
  const batchSize = microBatch(wanted, most);
  return {
    ...config,
    base: registry.model.name,
    basePrecision: registry.model.basePrecision,
    bnb4bitUseDoubleQuant: registry.model.bnb4bitUseDoubleQuant,
    baseCache: false,
    baseOffload: "none",
    adapter: job.adapter,
    lora: job.adapter === null ? config.lora : asAdapterHas(config.lora),
    outputDir: runFolder(workshop, job),
    seed: object.seed,
    data: {
      ...config.data,
      train: files.path(object.training_file),
      validation: object.validation_file === null ? null : files.path(object.validation_file),
    },
    objective:
      beta === undefined ? config.objective : { ...config.objective, name: "dpo", beta: beta === "auto" ? null : beta },
    optimizer: { ...config.optimizer, lr: config.optimizer.lr * multiplier },
    epochs,
    batchSize,
    gradientAccumulationSteps: config.gradientAccumulationSteps * (wanted / batchSize),
    maxSteps: null,
    ...(object.validation_file === null ? withoutValidation(config) : {}),
    saveEvery: perEpoch,
    evalEvery: perEpoch,
    keepLast: KEPT_CHECKPOINTS,
  };
}

/**
 * Rows of one micro-batch: as many as divide a client's batch and are no more than the operator's, whose memory it is. A step's
 * gradient is the mean over its targets, however they are shared out.
 */
export function microBatch(wanted: number, most: number): number {
  let rows = Math.min(wanted, most);
  while (wanted % rows !== 0) rows--;
  return rows;
}

/** Turns a run's events into the job's: its log, its status, its checkpoints. */
function reporter(workshop: Workshop, job: Job): (event: TrainEvent) => Promise<void> {
  const { jobs, registry } = workshop;
  let begun = { step: 0, at: 0 };
  let losses: { train_loss?: number; full_valid_loss?: number } = {};
  const say = (message: string) => jobs.log(job, { level: "info", message: namedForClients(workshop, job, message) });
  return async (event) => {
    switch (event.type) {
      case "note":
        return say(event.message);
      case "start":
        begun = { step: event.step, at: registry.model.platform.now() };
        if (job.object.status !== "paused") advance(job, "running");
        await jobs.save(job);
        return say(`Training begins after step ${event.step} of ${event.totalSteps}`);
      case "step": {
        const { step, loss: train_loss, learningRate: learning_rate, tokens } = event.metrics;
        losses = { train_loss };
        const now = registry.model.platform.now();
        const each = (now - begun.at) / (step - begun.step);
        job.object.estimated_finish = Math.ceil((now + (event.totalSteps - step) * each) / 1000);
        const data = { step, total_steps: event.totalSteps, train_loss, learning_rate, tokens };
        const message = `Step ${step}/${event.totalSteps}: training loss=${train_loss.toFixed(4)}`;
        return jobs.log(job, { level: "info", message, data });
      }
      case "skipped": {
        const message = `Step ${event.step} was not applied: its ${event.what} is not finite (rows ${event.rows.join(", ")})`;
        return jobs.log(job, { level: "warn", message });
      }
      case "eval": {
        const { step, evalLoss: full_valid_loss, details = {} } = event.metrics;
        losses = { ...losses, ...(full_valid_loss === undefined ? {} : { full_valid_loss }) };
        const figures = [
          ...(full_valid_loss === undefined ? [] : [`validation loss=${full_valid_loss.toFixed(4)}`]),
          ...Object.entries(details).map(([name, value]) => `${name}=${Number(value.toPrecision(4))}`),
        ];
        const data = { step, ...(full_valid_loss === undefined ? {} : { full_valid_loss }), ...details };
        return jobs.log(job, { level: "info", message: `Step ${step}: ${figures.join(", ")}`, data });
      }
      case "samples": {
        const { step, samples } = event;
        for (const sample of samples) {
          const message = `Step ${step}: ${JSON.stringify(sample.prompt)}: ${JSON.stringify(sample.adapter)}`;
          await jobs.log(job, { level: "info", message, data: { step, ...sample } });
        }
        return;
      }
      case "checkpoint":
        await addCheckpoint(workshop, job, event.step, losses);
        return say(`Checkpoint created at step ${event.step}`);
      case "end":
    }
  };
}

async function addCheckpoint(
  workshop: Workshop,
  job: Job,
  step: number,
  losses: Omit<CheckpointObject["metrics"], "step">,
): Promise<void> {
  const { registry, baseId, jobs } = workshop;
  const name = `${modelName(baseId, job.object)}:ckpt-step-${step}`;
  const checkpoint: CheckpointObject = {
    object: "fine_tuning.job.checkpoint",
    id: workshop.newId("ftckpt"),
    created_at: seconds(workshop),
    fine_tuned_model_checkpoint: name,
    fine_tuning_job_id: job.object.id,
    step_number: step,
    metrics: { step, ...losses },
  };
  const others = job.checkpoints.filter(({ step_number }) => step_number !== step);
  const all = [...others, checkpoint].sort((a, b) => a.step_number - b.step_number);
  job.checkpoints = all.slice(-KEPT_CHECKPOINTS);
  for (const { fine_tuned_model_checkpoint: old } of all.slice(0, -KEPT_CHECKPOINTS)) {
    if (registry.names().includes(old)) registry.unload(old);
  }
  await registry.load(name, modelFolders(workshop, job).get(name)!).catch(workshop.onError); // training goes on
  await jobs.save(job);
}

async function succeed(workshop: Workshop, job: Job, { adapter }: TrainResult): Promise<void> {
  const { registry, baseId, jobs, files } = workshop;
  const { object } = job;
  const name = modelName(baseId, object);
  await registry.load(name, adapter!);
  const metrics = await readMetrics(workshop, job);
  const table = ["step,train_loss,valid_loss", ...metrics.rows.map((row) => row.join(","))];
  const { id } = await files.add(`${object.id}-step-metrics.csv`, `${table.join("\n")}\n`, "fine-tune-results");
  const more = {
    result_files: [id],
    trained_tokens: metrics.tokens,
    fine_tuned_model: name,
    finished_at: seconds(workshop),
  };
  if (!advance(job, "succeeded", more)) return registry.unload(name); // cancelled in the last moment
  await jobs.log(job, { level: "info", message: `New fine-tuned model created: ${name}` });
  await jobs.log(job, { level: "info", message: "The job has successfully completed" });
  await jobs.save(job);
}

/** The losses of every step, and the tokens of all, of a run that may have been resumed. */
async function readMetrics(workshop: Workshop, job: Job) {
  const path = join(runFolder(workshop, job), OUTPUT.metrics);
  const text = new TextDecoder().decode(await workshop.registry.model.platform.files.read(path));
  const rows = new Map<number, [step: number, train: number | string, valid: number | string]>();
  let tokens = 0;
  for (const line of text.split("\n").filter(Boolean)) {
    const row = JSON.parse(line) as { step: number; loss?: number; eval_loss?: number; tokens?: number };
    tokens += row.tokens ?? 0;
    const [, train, valid] = rows.get(row.step) ?? [0, "", ""];
    rows.set(row.step, [row.step, row.loss ?? train, row.eval_loss ?? valid]);
  }
  return { rows: [...rows.values()], tokens };
}

/** What a message says, with files and base called as clients call them and without the server's own paths. */
function namedForClients({ files, jobs, registry, baseId }: Workshop, job: Job, message: string): string {
  const { id, training_file, validation_file } = job.object;
  const { name, open } = registry.model;
  const names = [
    ...[training_file, validation_file].flatMap((file) =>
      file === null ? [] : [[files.path(file), files.get(file).object.filename] as const],
    ),
    [`${jobs.folder(id)}/`, ""],
    [`${jobs.root}/`, ""],
    ...[open.path, name].filter((path) => path.includes("/")).map((path) => [path, baseId] as const),
  ] as const;
  return names.reduce((text, [path, called]) => text.replaceAll(path, called), message);
}
