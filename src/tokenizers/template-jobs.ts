import type { TemplateRunner } from "./chat-template.js";
import { type Rendered, renderAll, type TemplateContext } from "./jinja.js";
import { createPacker, createUnpacker } from "./transport.js";

/** What is sent to the thread that renders: one template and the packed contexts to render it with. */
export interface TemplateJob {
  readonly template: string;
  readonly contexts: readonly unknown[];
  /** Do the contexts hold what has to be unpacked? */
  readonly marked: boolean;
}

/** A job, and the place of each of its contexts among all. */
interface PlacedJob {
  readonly job: TemplateJob;
  readonly places: readonly number[];
}

/** Most that is sent at once, and the largest context, in characters and some for each value. */
const largestJob = 1 << 24;

/** Contexts in jobs of a bounded size, with their places; those too large for one get their error in `rendered` at once. */
function* jobsOf(template: string, contexts: readonly TemplateContext[], rendered: Rendered[]): Generator<PlacedJob> {
  let packer = createPacker();
  let next = { contexts: [] as unknown[], marked: false, places: [] as number[] };
  const placed = ({ places, ...job }: typeof next): PlacedJob => ({ job: { template, ...job }, places });
  for (const [place, context] of contexts.entries()) {
    const { value, size, marked } = packer.pack(context);
    if (size > largestJob) {
      rendered[place] = {
        error: `its messages hold ${size} characters, more than a chat template may get (${largestJob})`,
      };
      continue;
    }
    next.contexts.push(value);
    next.places.push(place);
    next.marked ||= marked;
    if (packer.total < largestJob) continue;
    yield placed(next);
    packer = createPacker();
    next = { contexts: [], marked: false, places: [] };
  }
  if (next.contexts.length > 0) yield placed(next);
}

/** What came of a job: results in order, and why its thread had to be given up, which is the error of the others. */
export interface Rendering {
  readonly results: readonly Rendered[];
  readonly failure?: string | undefined;
}

/** Renders one batch after another, each in jobs that `run` sends to a thread; after a failure the rest of its batch is not sent. */
export function rendersInTurn(run: (job: TemplateJob) => Promise<Rendering>): TemplateRunner & {
  /** Resolves once nothing is rendered any more. */
  idle(): Promise<unknown>;
} {
  let queue: Promise<unknown> = Promise.resolve();
  const runAll = async (template: string, contexts: readonly TemplateContext[]): Promise<Rendered[]> => {
    const rendered = new Array<Rendered>(contexts.length);
    let failed: string | undefined;
    for (const { job, places } of jobsOf(template, contexts, rendered)) {
      const { results, failure } = failed === undefined ? await run(job) : { results: [], failure: failed };
      places.forEach((place, i) => {
        rendered[place] = results[i] ?? { error: failure! };
      });
      failed = failure;
    }
    return rendered;
  };
  return {
    render(template, contexts) {
      if (contexts.length === 0) return Promise.resolve([]);
      const result = queue.then(() => runAll(template, contexts));
      queue = result.catch(() => {});
      return result;
    },
    idle: () => queue,
  };
}

const reportEveryMs = 50;

/** Renders a job in this thread; results are posted in order, a few at a time. */
export function renderJob({ template, contexts, marked }: TemplateJob, post: (results: Rendered[]) => void): void {
  let ready: Rendered[] = [];
  let since = performance.now();
  const report = () => {
    post(ready);
    ready = [];
    since = performance.now();
  };
  const unpacked = marked ? contexts.map(createUnpacker()) : contexts;
  renderAll(template, unpacked as readonly TemplateContext[], (result) => {
    ready.push(result);
    if (performance.now() - since > reportEveryMs) report();
  });
  if (ready.length > 0) report();
}
