import { parentPort } from "node:worker_threads";
import { type Rendered, renderAll, type TemplateContext } from "../tokenizers/jinja.js";
import { createUnpacker } from "../tokenizers/transport.js";

/** What the runner sends: one template and the packed contexts to render it with. */
export interface TemplateJob {
  readonly template: string;
  readonly contexts: readonly unknown[];
  /** Do the contexts hold what has to be unpacked? */
  readonly marked: boolean;
}

const reportEveryMs = 50;
const port = parentPort!;

port.on("message", ({ template, contexts, marked }: TemplateJob) => {
  let ready: Rendered[] = [];
  let since = performance.now();
  const report = () => {
    port.postMessage(ready);
    ready = [];
    since = performance.now();
  };
  const unpacked = marked ? contexts.map(createUnpacker()) : contexts;
  renderAll(template, unpacked as readonly TemplateContext[], (result) => {
    ready.push(result);
    if (performance.now() - since > reportEveryMs) report();
  });
  if (ready.length > 0) report();
});
port.postMessage([]); // up and listening
