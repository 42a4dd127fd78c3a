import { readChunks } from "../../platform/platform.js";
import { ApiError } from "../errors.js";
import type { StoreOptions } from "../fine-tuning/jobs.js";
import type { FileStore } from "../fine-tuning/uploads.js";
import type { ServerLimits } from "../limits.js";
import { createSlots } from "../slots.js";
import type { BatchOrder } from "./request.js";
import { type Ask, type BatchRun, isOver, runBatch, type Workplace } from "./run.js";
import { openBatchStore } from "./store.js";
import type { BatchObject } from "./wire.js";

export type { Ask } from "./run.js";

/** Files of requests that are answered in the background, beside what clients ask. */
export interface Batches {
  list(): BatchObject[];
  /** Throws ApiError 404. */
  get(id: string): BatchObject;
  /** Throws ApiError for an input file that is none. */
  create(order: BatchOrder): Promise<BatchObject>;
  /** Ends a batch; what was answered is kept. Throws ApiError for one that is over. */
  cancel(id: string): Promise<BatchObject>;
  /** The batch that still needs a file. */
  needing(fileId: string): BatchObject | undefined;
  /** Has somebody answer, and goes on with the batches that are not over. */
  begin(ask: Ask, limits: ServerLimits): void;
  /** Puts all batches down; the next server on this folder goes on with them. */
  close(): Promise<void>;
}

/** Seconds in which a batch is to be done. */
const WINDOW = 24 * 3600;

export interface BatchesOptions extends StoreOptions {
  readonly append: (path: string, text: string) => Promise<void>;
  readonly uploads: FileStore;
  readonly onError: (error: unknown) => void;
}

/** Opens a folder of batches. Nothing is answered before `begin`. */
export async function openBatches(folder: string, options: BatchesOptions): Promise<Batches> {
  const { files, uploads, newId, now, append, onError } = options;
  const store = await openBatchStore(folder, append, options);
  const running = new Map<string, BatchRun>();
  let start: ((batch: BatchObject) => void) | undefined;
  const create: Batches["create"] = async ({ endpoint, input_file_id, metadata }) => {
    const known = uploads.list().some(({ id, purpose }) => id === input_file_id && purpose === "batch");
    if (!known) throw noInput(input_file_id);
    const created_at = Math.floor(now() / 1000);
    const batch = newBatch({ id: newId("batch"), endpoint, input_file_id, metadata, created_at });
    await store.add(batch);
    const created = structuredClone(batch);
    start?.(batch);
    return created;
  };
  const cancel: Batches["cancel"] = async (id) => {
    const batch = store.get(id);
    if (isOver(batch) || batch.status === "finalizing")
      throw new ApiError(400, `the batch is ${batch.status} already`, { code: "batch_not_cancellable" });
    batch.status = "cancelling";
    batch.cancelling_at ??= Math.floor(now() / 1000);
    await store.save(batch);
    running.get(id)?.cancel();
    return structuredClone(batch);
  };
  return {
    list: () => store.list(),
    get: (id) => store.get(id),
    create,
    cancel,
    needing: (fileId) => store.list().find((batch) => !isOver(batch) && batch.input_file_id === fileId),
    begin(ask, limits) {
      const input = ({ input_file_id }: BatchObject) => readChunks(files, uploads.path(input_file_id));
      const workplace: Workplace = {
        store,
        uploads,
        input,
        ask,
        limits,
        newId,
        now,
        onError,
        places: createSlots({ slots: Math.max(1, limits.slots >> 1), queue: Number.POSITIVE_INFINITY }), // clients keep half
      };
      start = (batch) => {
        const run = runBatch(workplace, batch);
        running.set(batch.id, run);
        void run.done.finally(() => running.delete(batch.id));
      };
      for (const batch of store.list().reverse()) if (!isOver(batch)) start(batch);
    },
    async close() {
      start = undefined;
      await Promise.all([...running.values()].map((run) => run.putDown()));
    },
  };
}

const noInput = (id: string) =>
  new ApiError(400, `input_file_id: there is no file '${id.slice(0, 100)}' of purpose 'batch'`, {
    param: "input_file_id",
    code: "file_not_found",
  });

function newBatch(
  given: Pick<BatchObject, "id" | "endpoint" | "input_file_id" | "metadata" | "created_at">,
): BatchObject {
  const { id, created_at, ...asked } = given;
  return {
    id,
    object: "batch",
    ...asked,
    completion_window: "24h",
    created_at,
    expires_at: created_at + WINDOW,
    status: "validating",
    errors: null,
    output_file_id: null,
    error_file_id: null,
    in_progress_at: null,
    finalizing_at: null,
    completed_at: null,
    failed_at: null,
    expired_at: null,
    cancelling_at: null,
    cancelled_at: null,
    request_counts: { total: 0, completed: 0, failed: 0 },
  };
}
