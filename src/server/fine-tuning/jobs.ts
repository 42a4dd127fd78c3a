import { type Files, join } from "../../checkpoint/files.js";
import { jsonBytes, readObject } from "../../checkpoint/json.js";
import { ApiError } from "../errors.js";
import type { CheckpointObject, EventObject, JobObject } from "./wire.js";

/** A job as it is kept: what clients see, its checkpoints, and the adapter it goes on from. */
export interface Job {
  readonly object: JobObject;
  checkpoints: CheckpointObject[];
  /** Folder of the adapter that training starts from; null: a fresh one. */
  readonly adapter: string | null;
}

/** Jobs in a folder; every change of one is written whole before it counts. */
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

const RECORD = "job.json";
const EVENTS = "events.jsonl";

/** What finished; nothing will change it any more. */
export function isOver({ status }: JobObject): boolean {
  return status === "succeeded" || status === "failed" || status === "cancelled";
}

/** Opens a folder of jobs, empty or as it was left. */
export async function openJobStore(
  { files, append }: { readonly files: Files; append(path: string, text: string): Promise<void> },
  folder: string,
  { newId, now }: { readonly newId: (prefix: string) => string; readonly now: () => number },
): Promise<JobStore> {
  await files.makeFolder(folder);
  const jobs = new Map<string, Job>();
  for (const id of await files.list(folder)) {
    const record = await readObject(files, join(folder, id, RECORD));
    if (record) jobs.set(id, record as unknown as Job);
    else await files.remove(join(folder, id)); // killed before it was written
  }
  const get = (id: string): Job => {
    const found = jobs.get(id);
    if (found) return found;
    throw new ApiError(404, `there is no fine-tuning job '${id.slice(0, 100)}'`, { code: "job_not_found" });
  };
  const save = (job: Job) => files.write(join(folder, job.object.id, RECORD), jsonBytes(job));
  return {
    list: () => [...jobs.values()].sort((a, b) => (a.object.id < b.object.id ? 1 : -1)),
    get,
    root: folder,
    folder: (id) => join(folder, get(id).object.id),
    async add(job) {
      await files.makeFolder(join(folder, job.object.id));
      await save(job);
      jobs.set(job.object.id, job);
    },
    save,
    async log({ object }, { level, message, data }) {
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
      await append(join(folder, object.id, EVENTS), `\n${JSON.stringify(event)}`);
    },
    async events(id) {
      const path = join(folder, get(id).object.id, EVENTS);
      if (!(await files.stat(path))) return [];
      const lines = new TextDecoder().decode(await files.read(path)).split("\n");
      return lines.flatMap(readEvent).reverse();
    },
  };
}

function readEvent(line: string): EventObject[] {
  try {
    return [JSON.parse(line) as EventObject];
  } catch {
    return [];
  }
}
