import type { Platform } from "../platform/platform.js";
import type { TrainConfig } from "../recipes/config-schema.js";
import type { TrainEvent } from "../recipes/events.js";
import { loraFinetune } from "../recipes/lora-finetune.js";
import { UserError } from "../tensor/index.js";
import type { ModelLease, Models } from "./models.js";

/** A run that this studio trains, or trained since it was started. */
export interface Job {
  readonly folder: string;
  readonly config: TrainConfig;
  state: "starting" | "running" | "stopping" | "stopped" | "done" | "failed";
  /** What was said, the last of it. */
  notes: string[];
  totalSteps?: number;
  /** Share of the base that was read, while it is. */
  loading?: number;
  error?: string;
}

/** Runs, one at a time. */
export interface Jobs {
  list(): readonly Job[];
  get(folder: string): Job | undefined;
  /** Begins a run; resolves when it has read its rows. Throws UserError while another one is there, and what the run throws until then. */
  start(config: TrainConfig, options: { readonly resume: boolean }): Promise<Job>;
  /** Finishes the step in progress and writes a checkpoint. Throws UserError when no such run is going on. */
  stop(folder: string): Promise<void>;
  /** Says no more of a run that is over. */
  forget(folder: string): void;
  /** Stops what is going on, as `stop` does, and waits for it. */
  close(): Promise<void>;
}

const MOST_NOTES = 200;

/** `onError` is told of errors that are no user's. */
export function createJobs(platform: Platform, models: Models, onError: (error: unknown) => void): Jobs {
  const jobs = new Map<string, Job>();
  let current: { readonly job: Job; readonly control: AbortController; readonly done: Promise<void> } | undefined;

  /** Gives how it ended. */
  const run = async (
    job: Job,
    config: TrainConfig,
    resume: boolean,
    signal: AbortSignal,
    began: () => void,
  ): Promise<"stopped" | "done"> => {
    let lease: ModelLease | undefined;
    let interrupted = false;
    try {
      if (isShared(config))
        lease = await models.lease(heldFor(config), (done, total) => void (job.loading = done / total));
      else await models.free();
      delete job.loading;
      const events = loraFinetune(config, platform, { resume, signal, ...(lease ? { model: lease.model } : {}) });
      for await (const event of events) {
        record(job, event);
        if (event.type === "end") ({ interrupted } = event.result);
        began();
      }
      return interrupted ? "stopped" : "done";
    } catch (error) {
      job.error =
        error instanceof UserError
          ? error.message
          : "the run failed; the terminal of lowrank studio says why, or the browser's console where the page trains itself";
      if (!(error instanceof UserError)) onError(error);
      throw error;
    } finally {
      lease?.release();
    }
  };

  return {
    list: () => [...jobs.values()],
    get: (folder) => jobs.get(folder),
    async start(config, { resume }) {
      if (current) throw new UserError(`${current.job.folder} is training: stop it, or wait for its end`);
      const before = jobs.get(config.outputDir);
      const job: Job = { folder: config.outputDir, config, state: "starting", notes: [] };
      const control = new AbortController();
      let began = false;
      const first = new Promise<void>((resolve, reject) => {
        const going = run(job, config, resume, control.signal, () => {
          began = true;
          resolve();
        });
        const ended = (state: Job["state"]) => {
          job.state = state; // no sooner than the next one may begin
          current = undefined;
        };
        const done = going.then(ended, (error: unknown) => {
          ended("failed");
          reject(error);
        });
        current = { job, control, done };
        jobs.set(job.folder, job);
      });
      try {
        await first;
      } catch (error) {
        // It never was: what the folder holds is an earlier run's.
        if (!began) before ? jobs.set(before.folder, before) : jobs.delete(job.folder);
        throw error;
      }
      return job;
    },
    async stop(folder) {
      if (current?.job.folder !== folder) throw new UserError(`${folder}: this studio is not training it`);
      current.job.state = "stopping";
      current.control.abort();
    },
    forget: (folder) => void jobs.delete(folder),
    async close() {
      current?.control.abort();
      await current?.done;
    },
  };
}

/** Whether a run can go on the weights that answers are made with. */
function isShared({ fullFinetune, baseOffload, lora }: TrainConfig): boolean {
  return !fullFinetune && baseOffload === "none" && !(lora.init === "loftq" && lora.loftqConfig.loftqIter > 1);
}

const heldFor = ({
  base,
  basePrecision,
  bnb4bitUseDoubleQuant,
  baseCache,
  device,
  threads,
  precision,
}: TrainConfig) => ({
  ...{ base, basePrecision, bnb4bitUseDoubleQuant, baseCache, device, threads, precision },
});

function record(job: Job, event: TrainEvent): void {
  if (event.type === "note") job.notes = [...job.notes, event.message].slice(-MOST_NOTES);
  if (event.type === "loading") job.loading = event.bytes / event.totalBytes;
  if (event.type === "skipped")
    job.notes = [...job.notes, `step ${event.step} was not applied: its ${event.what} is not finite`].slice(
      -MOST_NOTES,
    );
  if (event.type === "start") {
    delete job.loading;
    job.totalSteps = event.totalSteps;
    if (job.state === "starting") job.state = "running";
  }
}
