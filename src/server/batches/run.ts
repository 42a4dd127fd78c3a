import type { FileStore } from "../fine-tuning/uploads.js";
import type { ServerLimits } from "../limits.js";
import type { Slots } from "../slots.js";
import { type BatchRequest, checkInput, linesOf, readRequest } from "./lines.js";
import { type BatchStore, isAnswer } from "./store.js";
import type { BatchFault, BatchObject, BatchResult, BatchStatus } from "./wire.js";

/** Answers a request of a batch as it would a client's. */
export type Ask = (path: string, body: string, signal: AbortSignal) => Promise<Response>;

/** What batches are answered with. */
export interface Workplace {
  readonly store: BatchStore;
  readonly uploads: FileStore;
  readonly input: (batch: BatchObject) => AsyncIterable<Uint8Array>;
  readonly ask: Ask;
  readonly limits: ServerLimits;
  /** Places for requests of batches, all of them together. */
  readonly places: Slots;
  readonly newId: (prefix: string) => string;
  readonly now: () => number;
  /** Told of errors that are not a client's. */
  readonly onError: (error: unknown) => void;
}

/** A batch that is being answered. */
export interface BatchRun {
  readonly done: Promise<void>;
  /** Ends it with what was answered. */
  cancel(): void;
  /** Stops it where it is. */
  putDown(): Promise<void>;
}

const OVER: readonly BatchStatus[] = ["completed", "failed", "expired", "cancelled"];

/** Nothing will change it any more. */
export const isOver = ({ status }: BatchObject): boolean => OVER.includes(status);

const seconds = ({ now }: Pick<Workplace, "now">): number => Math.floor(now() / 1000);

/** Answers a batch to its end, whichever that is; it goes on where it was put down. What goes wrong ends the batch, never the server. */
export function runBatch(workplace: Workplace, batch: BatchObject): BatchRun {
  const control = new AbortController();
  let down = false;
  const work = async (): Promise<void> => {
    try {
      if (batch.status === "validating") await validate(workplace, batch);
      if (batch.status === "in_progress") await answerAll(workplace, batch, control.signal);
      if (!down && !isOver(batch)) await finish(workplace, batch);
    } catch (error) {
      if (down) return;
      workplace.onError(error);
      const message = "the server failed to answer the batch; its log says why";
      await fail(workplace, batch, [{ code: "server_error", message, line: null, param: null }]).catch(
        workplace.onError,
      );
    }
  };
  const done = work();
  return {
    done,
    cancel: () => control.abort(),
    async putDown() {
      down = true;
      control.abort();
      await done;
    },
  };
}

async function validate(workplace: Workplace, batch: BatchObject): Promise<void> {
  const { store, input, limits } = workplace;
  const found = await checkInput(input(batch), batch.endpoint, limits);
  if (typeof found !== "number") return fail(workplace, batch, found);
  batch.request_counts.total = found;
  batch.in_progress_at = seconds(workplace);
  if (batch.status === "validating") batch.status = "in_progress"; // it may be cancelled meanwhile
  await store.save(batch);
}

async function fail(workplace: Workplace, batch: BatchObject, data: readonly BatchFault[]): Promise<void> {
  Object.assign(batch, { status: "failed", failed_at: seconds(workplace), errors: { object: "list", data } });
  await workplace.store.save(batch);
}

/** Asks what was not answered yet, as places are free; ends early when the signal is aborted. */
async function answerAll(workplace: Workplace, batch: BatchObject, signal: AbortSignal): Promise<void> {
  const { store, input, limits, places } = workplace;
  const answered = await countKept(store, batch);
  const underWay = new Set<Promise<void>>();
  let failure: { readonly error: unknown } | undefined;
  for await (const { text } of linesOf(input(batch), limits.bodyBytes)) {
    const request = readRequest(text!, batch.endpoint) as BatchRequest; // checked before
    if (answered.has(request.customId)) continue;
    const free = await places.acquire(signal).catch(() => undefined); // the signal was aborted
    if (!free || failure) {
      free?.();
      break;
    }
    const one = answerOne(workplace, batch, request, signal)
      .catch((error: unknown) => void (failure ??= { error }))
      .finally(() => {
        free();
        underWay.delete(one);
      });
    underWay.add(one);
  }
  await Promise.all(underWay);
  if (failure) throw failure.error;
}

/** The requests of which something was kept; counts them. */
async function countKept(store: BatchStore, batch: BatchObject): Promise<Set<string>> {
  const ids = new Set<string>();
  for await (const { custom_id } of store.results(batch, true)) ids.add(custom_id);
  batch.request_counts.completed = ids.size;
  for await (const { custom_id } of store.results(batch, false)) ids.add(custom_id);
  batch.request_counts.failed = ids.size - batch.request_counts.completed;
  return ids;
}

async function answerOne(
  workplace: Workplace,
  batch: BatchObject,
  request: BatchRequest,
  signal: AbortSignal,
): Promise<void> {
  const { store, newId } = workplace;
  const late = seconds(workplace) >= batch.expires_at;
  const outcome = late ? EXPIRED : await responseTo(workplace, batch, request, signal);
  if (!outcome) return;
  const result: BatchResult = { id: newId("batch_req"), custom_id: request.customId, ...outcome };
  await store.keep(batch, result);
  batch.request_counts[isAnswer(result) ? "completed" : "failed"]++;
}

type Outcome = Pick<BatchResult, "response" | "error">;

const EXPIRED: Outcome = {
  response: null,
  error: { code: "batch_expired", message: "the request was not made before the completion window ended" },
};

/** Milliseconds until a request is made again that the server had no room for. */
const AGAIN = 250;

/** What the server says; undefined: the signal was aborted meanwhile. */
async function responseTo(
  { ask }: Workplace,
  { endpoint }: BatchObject,
  { body }: BatchRequest,
  signal: AbortSignal,
): Promise<Outcome | undefined> {
  while (!signal.aborted) {
    const reply = await ask(endpoint, body, signal);
    const said = await reply.text();
    if (signal.aborted) return undefined;
    if (reply.status !== 429) {
      const request_id = reply.headers.get("x-request-id") ?? "";
      return { response: { status_code: reply.status, request_id, body: JSON.parse(said) }, error: null };
    }
    await pause(AGAIN, signal);
  }
  return undefined;
}

const pause = (milliseconds: number, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    signal.addEventListener("abort", end);
  });

/** Makes the files of what was kept, and gives the batch its last status. */
async function finish(workplace: Workplace, batch: BatchObject): Promise<void> {
  const { store } = workplace;
  if (batch.status === "in_progress") {
    Object.assign(batch, { status: "finalizing", finalizing_at: seconds(workplace) });
    await store.save(batch);
  }
  await countKept(store, batch);
  const { completed, failed } = batch.request_counts;
  if (completed > 0) batch.output_file_id = await keepFile(workplace, batch, true);
  if (failed > 0) batch.error_file_id = await keepFile(workplace, batch, false);
  const status = batch.status === "cancelling" ? "cancelled" : (await isLate(store, batch)) ? "expired" : "completed";
  Object.assign(batch, { status, [`${status}_at`]: seconds(workplace) });
  await store.save(batch);
}

/** Whether requests were left when the window ended. */
async function isLate(store: BatchStore, batch: BatchObject): Promise<boolean> {
  for await (const { error } of store.results(batch, false)) if (error) return true;
  return false;
}

async function keepFile({ store, uploads }: Workplace, batch: BatchObject, answered: boolean): Promise<string> {
  const utf8 = new TextEncoder();
  async function* lines(): AsyncGenerator<Uint8Array> {
    for await (const result of store.results(batch, answered)) yield utf8.encode(`${JSON.stringify(result)}\n`);
  }
  const filename = `${batch.id}_${answered ? "output" : "error"}.jsonl`;
  return (await uploads.add(filename, lines(), "batch_output")).id;
}
