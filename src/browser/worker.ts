import { renderJob, type TemplateJob } from "../tokenizers/template-jobs.js";
import { openEngine } from "./engine-side.js";
import type { WorkerStart } from "./workers.js";

// The program of every worker: the first message says what it is for.
addEventListener("message", ({ data }: MessageEvent<WorkerStart>) => begin(data), { once: true });

function begin(start: WorkerStart): void {
  if (start.role === "engine") return void openEngine(start);
  addEventListener("message", ({ data }: MessageEvent<TemplateJob>) =>
    renderJob(data, (results) => postMessage(results)),
  );
  postMessage([]); // up and listening
}
