import { parentPort } from "node:worker_threads";
import { type Rendered, renderAll, type TemplateContext } from "../tokenizers/jinja.js";

/** What the runner sends: one template and the contexts to render it with. */
export interface TemplateJob {
  readonly template: string;
  readonly contexts: readonly TemplateContext[];
}

const reportEveryMs = 50;
const port = parentPort!;

port.on("message", ({ template, contexts }: TemplateJob) => {
  let ready: Rendered[] = [];
  let since = performance.now();
  const report = () => {
    port.postMessage(ready);
    ready = [];
    since = performance.now();
  };
  renderAll(template, contexts, (result) => {
    ready.push(result);
    if (performance.now() - since > reportEveryMs) report();
  });
  if (ready.length > 0) report();
});
port.postMessage([]); // up and listening
