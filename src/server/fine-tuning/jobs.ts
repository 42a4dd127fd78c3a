import { z } from "zod";
import { type Files, join } from "../../formats/files.js";
import { jsonBytes, readObject } from "../../formats/json.js";
import { createTurns, type Turns } from "../../tensor/turns.js";
import { ApiError } from "../errors.js";
import type { CheckpointObject, EventObject, JobObject, JobStatus } from "./wire.js";

/** A job as it is kept: what clients see, its checkpoints, and the adapter it goes on from. */
export interface Job {
  readonly object: JobObject;
  checkpoints: CheckpointObject[];
  /** Folder of the adapter that training starts from; null: a fresh one. */
  readonly adapter: string | null;
  /** Times that it was begun without coming to an end or being put down: so often the server died meanwhile. */
  begun?: number;
}

/** Jobs in a folder. Every change of one is written whole before it counts, and one after the other. */
export interface JobStore {
  /** Newest first. */
  list(): Job[];
  /** Throws ApiError 404. */
  get(id: string): Job;
  /** Where all jobs are, and where one is. */
  readonly root: string;
  folder(id: string): string;
  add(job: Job): Promise<void>;
  /** Writes a job after it was changed. */
  save(job: Job): Promise<void>;
  log(job: Job, event: Pick<EventObject, "level" | "message"> & Partial<Pick<EventObject, "data">>): Promise<void>;
  /** Newest first. */
  events(id: string): Promise<EventObject[]>;
}

/** What a store of jobs or files needs. */
export interface StoreOptions {
  readonly files: Files;
  readonly newId: (prefix: string) => string;
  readonly now: () => number;
  /** Told of what is left alone because it cannot be read, or is not the store's. */
  readonly onNote: (message: string) => void;
}

const RECORD = "job.json";
/** A record whose writing was cut short, by this version or one before it. */
const CUT_SHORT = /^job\.json(\.lowrank)?\.partial$/;
const EVENTS = "events.jsonl";
const OVER: readonly JobStatus[] = ["succeeded", "failed", "cancelled"];
const STATUSES: readonly JobStatus[] = ["validating_files", "queued", "running", "paused", ...OVER];

/** The name of a job's folder. */
export const JOB_NAME = /^ftjob-[0-9a-z]{16,}$/;

/** What finished; nothing will change it any more. */
export const isOver = ({ status }: JobObject): boolean => OVER.includes(status);

/** Gives a job another status, with `more`. False: it is over, and stays as it is. */
export function advance(job: Job, status: JobStatus, more: Partial<JobObject> = {}): boolean {
  if (isOver(job.object)) return false;
  Object.assign(job.object, more, { status });
  return true;
}

/** Opens a folder of jobs, empty or as it was left. */
export async function openJobStore(
  folder: string,
  append: (path: string, text: string) => Promise<void>,
  { files, newId, now, onNote }: StoreOptions,
): Promise<JobStore> {
  await files.makeFolder(folder);
  const jobs = await readJobs(files, folder, onNote);
  const turns = new WeakMap<Job, Turns>();
  const inTurn = <T>(job: Job, act: () => Promise<T>): Promise<T> => {
    let own = turns.get(job);
    if (!own) turns.set(job, (own = createTurns()));
    return own(act);
  };
  const get = (id: string): Job => {
    const found = jobs.get(id);
    if (found) return found;
    throw new ApiError(404, `there is no fine-tuning job '${id.slice(0, 100)}'`, { code: "job_not_found" });
  };
  const write = (job: Job) => files.write(join(folder, job.object.id, RECORD), jsonBytes(job));
  return {
    list: () => [...jobs.values()].sort((a, b) => (a.object.id < b.object.id ? 1 : -1)),
    get,
    root: folder,
    folder: (id) => join(folder, get(id).object.id),
    async add(job) {
      const path = join(folder, job.object.id);
      await files.makeFolder(path);
      try {
        await write(job);
      } catch (error) {
        await files.remove(path);
        throw error;
      }
      jobs.set(job.object.id, job);
    },
    save: (job) => inTurn(job, () => write(job)),
    log: (job, { level, message, data }) => {
      const event: EventObject = {
        object: "fine_tuning.job.event",
        id: newId("ftevent"),
        created_at: Math.floor(now() / 1000),
        level,
        message,
        type: data ? "metrics" : "message",
        data: data ?? {},
      };
      // The line before it may have been cut off by a kill.
      return inTurn(job, () => append(join(folder, job.object.id, EVENTS), `\n${JSON.stringify(event)}`));
    },
    async events(id) {
      const path = join(folder, get(id).object.id, EVENTS);
      if (!(await files.stat(path))) return [];
      const lines = new TextDecoder().decode(await files.read(path)).split("\n");
      return lines.flatMap(readEvent).reverse();
    },
  };
}

/** The jobs of a folder; one that was killed before it was written is removed, anything else that is none is left alone. */
async function readJobs(files: Files, folder: string, onNote: (message: string) => void): Promise<Map<string, Job>> {
  const jobs = new Map<string, Job>();
  for (const id of await files.list(folder)) {
    const path = join(folder, id);
    const found = JOB_NAME.test(id) ? await readJob(files, path, id) : "it is none of the server's";
    if (typeof found === "object") jobs.set(id, found);
    else if (found !== undefined) onNote(`${path}: left as it is: ${found}`);
    else await files.remove(path);
  }
  return jobs;
}

/** A job's record; undefined when it was never written; else what is wrong with it. */
async function readJob(files: Files, path: string, id: string): Promise<Job | undefined | string> {
  try {
    const record = await readObject(files, join(path, RECORD));
    if (record)
      return jobRecord(id).safeParse(record).success ? (record as unknown as Job) : `its ${RECORD} is not a job's`;
    const rest = (await files.list(path)).filter((name) => !CUT_SHORT.test(name));
    return rest.length === 0 ? undefined : `it has no ${RECORD}`;
  } catch (error) {
    return (error as Error).message;
  }
}

/** What has to be right of a job's record; it is used as it was written. */
const jobRecord = (id: string) =>
  z.looseObject({
    object: z.looseObject({
      id: z.literal(id),
      status: z.enum(STATUSES),
      model: z.string(),
      training_file: z.string(),
      seed: z.int(),
      hyperparameters: z.strictObject({
        n_epochs: z.number(),
        batch_size: z.number(),
        learning_rate_multiplier: z.number(),
      }),
    }),
    checkpoints: z.array(z.unknown()),
    adapter: z.string().nullable(),
  });

function readEvent(line: string): EventObject[] {
  try {
    return [JSON.parse(line) as EventObject];
  } catch {
    return [];
  }
}
