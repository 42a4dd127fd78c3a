import { parentPort } from "node:worker_threads";
import { renderJob, type TemplateJob } from "../tokenizers/template-jobs.js";

const port = parentPort!;

port.on("message", (job: TemplateJob) => renderJob(job, (results) => port.postMessage(results)));
port.postMessage([]); // up and listening
