import type { TemplateRunner } from "../tokenizers/chat-template.js";
import type { Rendered } from "../tokenizers/jinja.js";
import { type Rendering, rendersInTurn, type TemplateJob } from "../tokenizers/template-jobs.js";
import { startWorker } from "./workers.js";

/** Longest that one render may take. A tab in the background is slowed down, so it is more than in Node. */
const MILLISECONDS = 3000;

/** A runner whose worker can be ended. */
export interface LimitedRunner extends TemplateRunner {
  dispose(): void;
}

/**
 * Renders chat templates, which come from checkpoints and may be hostile, in a worker of their own. A render over its time ends the
 * worker: it and the rest of its batch become errors, and the next batch gets a fresh one. Batches wait for one another.
 */
export function createTemplateRunner(address?: string | URL): LimitedRunner {
  let worker: Worker | undefined;
  const stop = () => {
    worker?.terminate();
    worker = undefined;
  };
  const open = (): Promise<Worker> => {
    if (worker) return Promise.resolve(worker);
    const started = startWorker({ role: "templates" }, address);
    worker = started;
    return new Promise((resolve, reject) => {
      started.addEventListener("message", () => resolve(started), { once: true });
      started.addEventListener(
        "error",
        ({ message }) => {
          stop();
          reject(new Error(`chat template worker: ${message || "it cannot be started"}`));
        },
        { once: true },
      );
    });
  };
  const run = async (job: TemplateJob): Promise<Rendering> => {
    const results: Rendered[] = [];
    const failure = await collect(await open(), job, results);
    if (failure !== undefined) stop();
    return { results, failure };
  };
  const { render } = rendersInTurn(run);
  return { render, dispose: stop };
}

/** Sends the job and gathers results until all are there. Gives the reason when the worker has to be given up. */
function collect(worker: Worker, job: TemplateJob, results: Rendered[]): Promise<string | undefined> {
  return new Promise((resolve) => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const finish = (failure?: string) => {
      clearTimeout(timer);
      worker.removeEventListener("message", take);
      worker.removeEventListener("error", fail);
      resolve(failure);
    };
    const watch = () => {
      clearTimeout(timer);
      timer = setTimeout(() => finish(`it ran for more than ${MILLISECONDS} ms and was stopped`), MILLISECONDS);
    };
    const fail = ({ message }: ErrorEvent) => finish(message || "its worker ended");
    const take = ({ data }: MessageEvent<Rendered[]>) => {
      results.push(...data);
      if (results.length === job.contexts.length) finish();
      else watch();
    };
    worker.addEventListener("message", take);
    worker.addEventListener("error", fail);
    watch();
    worker.postMessage(job);
  });
}
