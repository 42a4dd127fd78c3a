import type { RowKind } from "../../data/row.js";
import type { AdapterRegistry } from "../../recipes/adapter-registry.js";
import { resolveConfig } from "../../recipes/config.js";
import type { TrainOptions } from "../../recipes/config-schema.js";
import { refuseOtherModel } from "../../recipes/loaded-model.js";
import { refuseOtherBits } from "../../recipes/start-values.js";
import { random, UserError } from "../../tensor/index.js";
import { createTurns } from "../../tensor/turns.js";
import { type Batches, openBatches } from "../batches/index.js";
import { ApiError, unknownModel } from "../errors.js";
import { openDataFolder } from "./data-folder.js";
import { idMaker } from "./ids.js";
import { advance, isOver, type Job, type JobStore, openJobStore } from "./jobs.js";
import { chooseHyperparameters, type JobRequest } from "./request.js";
import { endDeadly, modelFolders, runJob, serveModels, type Workshop } from "./runner.js";
import { type FileStore, openFileStore } from "./uploads.js";
import type { JobObject } from "./wire.js";

export interface FineTuningOptions {
  /** Where uploads, jobs and their results are kept; one server at a time. */
  readonly dataDir: string;
  /** What clients call the base. */
  readonly baseId: string;
  /** Keys of the config that jobs start from, e.g. `{ lora: { r: 16 } }`. What a request says stands above them. `optimizer.lr` is 5e-4 by default. */
  readonly config?: Omit<Partial<TrainOptions>, "base" | "data"> & { readonly data?: Partial<TrainOptions["data"]> };
  /** Jobs that may wait; the next one is refused with 429. Default 16. */
  readonly queue?: number;
  /** Told of errors that are not a client's. */
  readonly onError?: (error: unknown) => void;
  /** Told of what the folder holds that is left alone: a damaged job, somebody's file. */
  readonly onNote?: (message: string) => void;
}

/** Fine-tuning jobs, one after the other, on the model that is served, and batches beside them over files of the same folder. */
export interface FineTuning {
  readonly files: FileStore;
  readonly jobs: JobStore;
  readonly batches: Batches;
  /** Jobs that run and that wait. */
  readonly load: { readonly running: number; readonly waiting: number };
  /** Throws ApiError naming the field that is wrong. */
  create(request: JobRequest): Promise<JobObject>;
  cancel(id: string): Promise<JobObject>;
  /** Puts a job down, with a checkpoint where it ran, until it is resumed. Throws ApiError for a job that is over or paused. */
  pause(id: string): Promise<JobObject>;
  /** Queues a paused job again; it goes on from where it was. Throws ApiError for any other. */
  resume(id: string): Promise<JobObject>;
  /** Throws ApiError while a job or a batch needs the file. */
  removeFile(id: string): Promise<void>;
  /** Forgets a job's model and deletes it from the disk. False: no job made a model of this name. */
  removeModel(name: string): Promise<boolean>;
  /** Finishes the step in progress and writes a checkpoint; the next server on this folder goes on from there. */
  close(): Promise<void>;
}

/** The rate of jobs whose operator names none: that of the shipped configs for small bases. */
const LEARNING_RATE = 5e-4;

/**
 * Opens a data folder: its models are served, and jobs that were queued or running go on. Throws UserError when another server
 * uses the folder, when it holds what no server put there, for a quantized model, which cannot be trained, and for keys of `config` that
 * no job could have.
 */
export async function openFineTuning(
  registry: AdapterRegistry,
  { dataDir, baseId, config = {}, queue = 16, onError = () => undefined, onNote = () => undefined }: FineTuningOptions,
): Promise<FineTuning> {
  const { platform, name: base } = registry.model;
  const { bits } = registry.model.resident;
  if (bits)
    throw new UserError(
      `${base} is held in ${bits} bits, which only generates: load it without quantize to fine-tune it`,
    );
  const optimizer = { lr: LEARNING_RATE, ...config.optimizer };
  const settings = resolveConfig({ ...config, optimizer, base, data: { ...config.data, train: "-" } });
  const own = platform.ownFiles ?? platform.files;
  if (Object.keys(settings.data.columns).length > 0)
    throw new UserError("data.columns: jobs are trained on clients' files, whose rows name their fields themselves");
  if (settings.objective.name !== "sft")
    throw new UserError("objective: what a job learns is its client's to say, as the job's method");
  if (settings.adapter !== null)
    throw new UserError("adapter: what a job goes on from is its client's to say, as the job's model");
  refuseOtherModel(settings, registry.model);
  refuseOtherBits({ ...settings, basePrecision: registry.model.basePrecision });
  const folder = await openDataFolder(own, (path) => platform.lock(path), dataDir);
  try {
    const now = () => platform.now();
    const store = { files: own, newId: idMaker(now), now, onNote };
    const files = await openFileStore(folder.files, store);
    const append = (path: string, text: string) => platform.append(path, text);
    const jobs = await openJobStore(folder.jobs, append, store);
    const batches = await openBatches(folder.batches, { ...store, append, uploads: files, onError });
    const workshop: Workshop = { registry, baseId, config: settings, files, jobs, newId: store.newId, onError };
    const ours = jobs.list().filter((job) => baseOf(job) === baseId);
    for (const job of ours) {
      await serveModels(workshop, job);
      await endDeadly(workshop, job);
    }
    const due = ours.filter(({ object }) => !isOver(object) && object.status !== "paused");
    const line = jobLine(workshop, due.reverse());
    const close = async () => {
      await Promise.all([line.close(), batches.close()]).finally(folder.unlock);
    };
    return { files, jobs, batches, load: line, ...handlers(workshop, line, batches, queue), close };
  } catch (error) {
    await folder.unlock();
    throw error;
  }
}

/** The base that a job's model is made for: `ft:BASE:...` of a model that goes on from another one. */
function baseOf({ object: { model } }: Job): string {
  return model.startsWith("ft:") ? model.slice(3).replace(/:[^:]*:[^:]*(:ckpt-step-\d+)?$/, "") : model;
}

/** Runs jobs in the order they came in. */
function jobLine(workshop: Workshop, waiting: Job[]) {
  let current: { readonly job: Job; readonly control: AbortController; readonly done: Promise<void> } | undefined;
  let closed = false;
  const next = () => {
    if (current || closed) return;
    const job = waiting.shift();
    if (!job) return;
    const control = new AbortController();
    const done = runJob(workshop, job, control.signal).finally(() => {
      current = undefined;
      next();
    });
    current = { job, control, done };
  };
  next();
  return {
    get running() {
      return current ? 1 : 0;
    },
    get waiting() {
      return waiting.length;
    },
    add(job: Job): void {
      waiting.push(job);
      next();
    },
    /** Takes a job out, or stops it. */
    drop(job: Job): void {
      const at = waiting.indexOf(job);
      if (at >= 0) waiting.splice(at, 1);
      else if (current?.job === job) current.control.abort();
    },
    async close(): Promise<void> {
      closed = true;
      current?.control.abort();
      await current?.done;
    },
  };
}

function handlers(
  workshop: Workshop,
  line: ReturnType<typeof jobLine>,
  batches: Batches,
  queue: number,
): Pick<FineTuning, "create" | "cancel" | "pause" | "resume" | "removeFile" | "removeModel"> {
  const { registry, files, jobs, newId } = workshop;
  const now = () => registry.model.platform.now();
  /** What depends on which jobs and files there are happens one after the other. */
  const inTurn = createTurns();
  const create = async (request: JobRequest): Promise<JobObject> => {
    const job = newJob(workshop, request, { id: newId("ftjob"), milliseconds: now() });
    refuseFull(line, queue);
    await jobs.add(job);
    await jobs.log(job, { level: "info", message: `Created fine-tuning job: ${job.object.id}` });
    const created = { ...job.object };
    line.add(job);
    return created;
  };
  const cancel = async (id: string): Promise<JobObject> => {
    const job = jobs.get(id);
    if (!advance(job, "cancelled", { finished_at: Math.floor(now() / 1000) })) {
      throw new ApiError(400, `the job has ${job.object.status} already`, { code: "job_not_cancellable" });
    }
    line.drop(job);
    await jobs.save(job);
    await jobs.log(job, { level: "info", message: "The job was cancelled" });
    return job.object;
  };
  const pause = async (id: string): Promise<JobObject> => {
    const job = jobs.get(id);
    const { status } = job.object;
    if (status === "paused" || !advance(job, "paused")) {
      throw new ApiError(400, `the job is ${status} already`, { code: "job_not_pausable" });
    }
    line.drop(job);
    await jobs.save(job);
    await jobs.log(job, { level: "info", message: "The job was paused" });
    return job.object;
  };
  const resume = async (id: string): Promise<JobObject> => {
    const job = jobs.get(id);
    const { status } = job.object;
    if (status !== "paused") throw new ApiError(400, `the job is ${status}, not paused`, { code: "job_not_paused" });
    refuseFull(line, queue);
    advance(job, "queued");
    await jobs.save(job);
    await jobs.log(job, { level: "info", message: "The job was resumed" });
    const resumed = { ...job.object };
    line.add(job);
    return resumed;
  };
  const removeFile = async (id: string): Promise<void> => {
    files.get(id);
    const user = jobs
      .list()
      .find(({ object }) => !isOver(object) && [object.training_file, object.validation_file].includes(id));
    if (user) throw new ApiError(409, `the file is needed by the job ${user.object.id}`, { code: "file_in_use" });
    const batch = batches.needing(id);
    if (batch) throw new ApiError(409, `the file is needed by the batch ${batch.id}`, { code: "file_in_use" });
    await files.remove(id);
  };
  const removeModel = async (name: string): Promise<boolean> => {
    for (const job of jobs.list()) {
      const folder = modelFolders(workshop, job).get(name);
      if (folder === undefined) continue;
      if (registry.names().includes(name)) registry.unload(name);
      await registry.model.platform.files.remove(folder);
      return true;
    }
    return false;
  };
  return {
    create: (request) => inTurn(() => create(request)),
    cancel: (id) => inTurn(() => cancel(id)),
    pause: (id) => inTurn(() => pause(id)),
    resume: (id) => inTurn(() => resume(id)),
    removeFile: (id) => inTurn(() => removeFile(id)),
    removeModel: (name) => inTurn(() => removeModel(name)),
  };
}

/** Throws ApiError where no more jobs may wait. */
function refuseFull({ waiting }: { readonly waiting: number }, queue: number): void {
  if (waiting < queue) return;
  throw new ApiError(429, `${queue} jobs are waiting already; try again later`, { code: "rate_limit_exceeded" });
}

/** A job as it is queued. Throws ApiError for files and models that are not there. */
function newJob(
  workshop: Workshop,
  request: JobRequest,
  { id, milliseconds }: { readonly id: string; readonly milliseconds: number },
): Job {
  const { files, config, registry } = workshop;
  if (request.integrations?.length && !registry.model.platform.variable?.("WANDB_API_KEY")) {
    const why = "this server has no account to send to; its operator sets WANDB_API_KEY";
    throw new ApiError(400, `integrations: ${why}`, { param: "integrations", code: "unsupported_parameter" });
  }
  const adapter = startOf(workshop, request.model);
  const kind: RowKind = request.dpo ? "pairs" : "texts";
  const { rows } = fileOf(files, "training_file", request.training_file, kind);
  if (request.validation_file !== undefined) fileOf(files, "validation_file", request.validation_file, kind);
  const prefers = request.dpo !== undefined;
  const hyperparameters = chooseHyperparameters(request.hyperparameters, rows, config, { prefers });
  const object: JobObject = {
    id,
    object: "fine_tuning.job",
    created_at: Math.floor(milliseconds / 1000),
    model: request.model,
    organization_id: "lowrank",
    training_file: request.training_file,
    validation_file: request.validation_file ?? null,
    hyperparameters,
    method: request.dpo
      ? { type: "dpo", dpo: { hyperparameters: { ...hyperparameters, ...request.dpo } } }
      : { type: "supervised", supervised: { hyperparameters } },
    seed: request.seed ?? random(milliseconds >>> 0, "job seed").int32() >>> 1,
    user_provided_suffix: request.suffix ?? null,
    metadata: request.metadata ?? null,
    integrations: request.integrations ?? [],
    estimated_finish: null,
    status: "queued",
    error: null,
    fine_tuned_model: null,
    finished_at: null,
    result_files: [],
    trained_tokens: null,
  };
  return { object, checkpoints: [], adapter };
}

/** An uploaded file. Throws ApiError when there is none, or its rows are not of the kind that a job's method learns from. */
function fileOf(files: FileStore, param: string, id: string, kind: RowKind): { readonly rows: number } {
  const known = files.list().some((file) => file.id === id && file.purpose === "fine-tune");
  const found = known ? files.get(id) : undefined;
  if (found && (found.kind ?? "texts") === kind) return found;
  if (found) {
    const wanted =
      kind === "pairs" ? "'dpo' learns from pairs of preferred and other outputs" : "'supervised' learns from answers";
    throw new ApiError(400, `${param}: the method ${wanted}, and the rows of this file are none`, {
      param,
      code: "invalid_training_file",
    });
  }
  throw new ApiError(400, `${param}: there is no training file '${id.slice(0, 100)}'`, {
    param,
    code: "file_not_found",
  });
}

/** The adapter that a model stands for: none for the base. Throws ApiError for a model that cannot be trained here. */
function startOf(workshop: Workshop, model: string): string | null {
  const { baseId, jobs, registry } = workshop;
  if (model === baseId) return null;
  const served = registry.names();
  const made = new Map(jobs.list().flatMap((job) => [...modelFolders(workshop, job)]));
  const folder = served.includes(model) ? made.get(model) : undefined;
  if (folder !== undefined) return folder;
  const names = [baseId, ...served.filter((name) => made.has(name))];
  const why = (name: string) => `${name} cannot be fine-tuned here; '${baseId}' and models made from it can`;
  throw unknownModel(model, names, why);
}
