import process from "node:process";
import { Worker } from "node:worker_threads";
import type { TemplateRunner } from "../tokenizers/chat-template.js";
import type { Rendered } from "../tokenizers/jinja.js";
import { type Rendering, rendersInTurn, type TemplateJob } from "../tokenizers/template-jobs.js";
import { workerFile } from "./package.js";

export interface TemplateLimits {
  /** Longest that one render may take, of a processor's time; on a busy machine more may pass. Default 750. */
  readonly milliseconds?: number;
  /** Largest heap of the worker. Default 512: a few times what the interpreter's own bounds let a render hold. */
  readonly megabytes?: number;
}

/** A runner whose worker can be ended; without that it does not keep the process alive either. */
export interface LimitedRunner extends TemplateRunner {
  dispose(): Promise<void>;
}

/**
 * Renders chat templates, which come from checkpoints and may be hostile, in one worker thread that lives as long as it
 * behaves. A render over its time or memory ends the worker: it and the rest of its batch become errors, and the next
 * batch gets a fresh worker. Batches wait for one another, each for a bad one at most the time limit.
 */
export function createTemplateRunner({ milliseconds = 750, megabytes = 512 }: TemplateLimits = {}): LimitedRunner {
  let host: Promise<Host> | undefined;

  const run = async (job: TemplateJob): Promise<Rendering> => {
    host ??= startWorker(megabytes);
    const current = await host.catch((error: unknown) => {
      host = undefined;
      throw error;
    });
    const results: Rendered[] = [];
    current.worker.ref();
    const failure = await collect(current, job, results, milliseconds);
    current.worker.unref();
    if (failure === undefined) return { results };
    host = undefined;
    void current.worker.terminate(); // may take a while when memory ran full: nobody waits for it
    return { results, failure };
  };
  const { render, idle } = rendersInTurn(run);
  return {
    render,
    async dispose() {
      await idle();
      await (await host)?.worker.terminate();
      host = undefined;
    },
  };
}

/** A worker and whom its next word concerns. */
interface Host {
  readonly worker: Worker;
  onResults: (results: Rendered[]) => void;
  onFailure: (reason: string) => void;
}

function startWorker(megabytes: number): Promise<Host> {
  const worker = new Worker(workerFile("template-worker.js"), {
    resourceLimits: { maxOldGenerationSizeMb: megabytes, maxYoungGenerationSizeMb: 32, stackSizeMb: 2 },
    env: {},
    execArgv: [], // flags such as --input-type are meant for the main thread
  });
  return new Promise((resolve, reject) => {
    const host: Host = {
      worker,
      onResults: () => resolve(host), // its first message says that it listens
      onFailure: (reason) => reject(new Error(`chat template worker: ${reason}`)),
    };
    worker.on("message", (results: Rendered[]) => host.onResults(results));
    worker.on("error", (error: NodeJS.ErrnoException) => {
      const outOfMemory = error.code === "ERR_WORKER_OUT_OF_MEMORY";
      host.onFailure(outOfMemory ? `it used more than ${megabytes} MB and was stopped` : error.message);
    });
    worker.on("exit", () => host.onFailure("its worker ended"));
  });
}

/** A render that gets next to no processor is given up after this many times its limit. */
const MOST_WAITING = 20;

/** Sends the job and gathers results until all are there. Gives the reason when the worker had to be given up. */
function collect(host: Host, job: TemplateJob, results: Rendered[], milliseconds: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    let timer: NodeJS.Timeout | undefined;
    const finish = (failure?: string) => {
      clearTimeout(timer);
      host.onResults = host.onFailure = () => {};
      resolve(failure);
    };
    const watch = () => {
      const began = { seen: results.length, time: performance.now(), cpu: process.cpuUsage() };
      // After a busy spell of this thread the timer comes before the messages that wait: let them in first.
      const look = () => setImmediate(() => results.length === began.seen && stopOrWait());
      const stopOrWait = () => {
        const { user, system } = process.cpuUsage(began.cpu);
        const missing = milliseconds - (user + system) / 1000; // what other programs took of its time
        if (missing <= 0 || performance.now() - began.time > MOST_WAITING * milliseconds) {
          finish(`it ran for more than ${milliseconds} ms and was stopped`);
        } else timer = setTimeout(look, Math.max(missing, 20));
      };
      clearTimeout(timer);
      timer = setTimeout(look, milliseconds);
    };
    host.onFailure = finish;
    host.onResults = (more) => {
      results.push(...more);
      if (results.length === job.contexts.length) finish();
      else watch();
    };
    watch();
    host.worker.postMessage(job);
  });
}
