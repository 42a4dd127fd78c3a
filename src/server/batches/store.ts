import { z } from "zod";
import { type Files, join } from "../../formats/files.js";
import { jsonBytes, readObject } from "../../formats/json.js";
import { readChunks } from "../../platform/platform.js";
import { createTurns } from "../../tensor/turns.js";
import { ApiError } from "../errors.js";
import type { StoreOptions } from "../fine-tuning/jobs.js";
import { linesOf } from "./lines.js";
import type { BatchObject, BatchResult } from "./wire.js";

/** Batches in a folder, each in a folder of its own with what was answered so far. */
export interface BatchStore {
  /** Newest first. */
  list(): BatchObject[];
  /** Throws ApiError 404. */
  get(id: string): BatchObject;
  add(batch: BatchObject): Promise<void>;
  /** Writes a batch after it was changed. */
  save(batch: BatchObject): Promise<void>;
  /** Keeps what came of one request. */
  keep(batch: BatchObject, result: BatchResult): Promise<void>;
  /** What was kept: answers, or the others. */
  results(batch: BatchObject, answered: boolean): AsyncGenerator<BatchResult>;
}

const RECORD = "batch.json";
const RESULTS = "results.jsonl";

/** The name of a batch's folder. */
export const BATCH_NAME = /^batch-[0-9a-z]{16,}$/;

/** Whether a result is an answer: it goes to the output file, the others to the error file. */
export const isAnswer = ({ response }: BatchResult): boolean => response?.status_code === 200;

/** Opens a folder of batches, empty or as it was left. */
export async function openBatchStore(
  folder: string,
  append: (path: string, text: string) => Promise<void>,
  { files, onNote }: Pick<StoreOptions, "files" | "onNote">,
): Promise<BatchStore> {
  await files.makeFolder(folder);
  const batches = await readBatches(files, folder, onNote);
  const inTurn = createTurns();
  const path = ({ id }: BatchObject, name: string) => join(folder, id, name);
  const write = (batch: BatchObject) => files.write(path(batch, RECORD), jsonBytes(batch));
  return {
    list: () => [...batches.values()].sort((a, b) => (a.id < b.id ? 1 : -1)),
    get(id) {
      const found = batches.get(id);
      if (found) return found;
      throw new ApiError(404, `there is no batch '${id.slice(0, 100)}'`, { code: "batch_not_found" });
    },
    async add(batch) {
      await files.makeFolder(join(folder, batch.id));
      try {
        await write(batch);
      } catch (error) {
        await files.remove(join(folder, batch.id));
        throw error;
      }
      batches.set(batch.id, batch);
    },
    save: (batch) => inTurn(() => write(batch)),
    // The line before it may have been cut off by a kill.
    keep: (batch, result) => inTurn(() => append(path(batch, RESULTS), `\n${JSON.stringify(result)}`)),
    async *results(batch, answered) {
      if (!(await files.stat(path(batch, RESULTS)))) return;
      for await (const { text } of linesOf(readChunks(files, path(batch, RESULTS)), Number.POSITIVE_INFINITY)) {
        const result = readResult(text!);
        if (result && isAnswer(result) === answered) yield result;
      }
    },
  };
}

function readResult(line: string): BatchResult | undefined {
  try {
    return JSON.parse(line) as BatchResult;
  } catch {
    return undefined;
  }
}

/** The batches of a folder; one that was killed before it was written is removed, anything else that is none is left alone. */
async function readBatches(
  files: Files,
  folder: string,
  onNote: (message: string) => void,
): Promise<Map<string, BatchObject>> {
  const batches = new Map<string, BatchObject>();
  for (const id of await files.list(folder)) {
    const path = join(folder, id);
    if (!BATCH_NAME.test(id)) {
      onNote(`${path}: left as it is: it is none of the server's`);
      continue;
    }
    const record = await readObject(files, join(path, RECORD)).catch(() => null);
    if (record === undefined) await files.remove(path);
    else if (batchRecord(id).safeParse(record).success) batches.set(id, record as unknown as BatchObject);
    else onNote(`${path}: left as it is: its ${RECORD} is not a batch's`);
  }
  return batches;
}

/** What has to be right of a batch's record; it is used as it was written. */
const batchRecord = (id: string) =>
  z.looseObject({
    id: z.literal(id),
    endpoint: z.string(),
    input_file_id: z.string(),
    status: z.string(),
    expires_at: z.int(),
    request_counts: z.strictObject({ total: z.int(), completed: z.int(), failed: z.int() }),
  });
