import type { WandbPlace } from "../../recipes/trackers/wandb.js";
import { ApiError } from "../errors.js";

// Objects of OpenAI's API reference, in its own names: they go over the wire, and to the disk, as they are.

/** What a client may upload a file for. */
export type UploadPurpose = "fine-tune" | "batch";

export interface FileObject {
  readonly id: string;
  readonly object: "file";
  readonly bytes: number;
  /** Seconds since 1970, as every `_at`. */
  readonly created_at: number;
  readonly filename: string;
  /** The last two are what jobs and batches made. */
  readonly purpose: UploadPurpose | "fine-tune-results" | "batch_output";
  readonly status: "processed";
}

export type JobStatus = "validating_files" | "queued" | "running" | "paused" | "succeeded" | "failed" | "cancelled";

export interface Hyperparameters {
  readonly n_epochs: number;
  readonly batch_size: number;
  readonly learning_rate_multiplier: number;
}

/** How a job learns, and from what, as its client asked. */
export type Method =
  | { readonly type: "supervised"; readonly supervised: { readonly hyperparameters: Hyperparameters } }
  | {
      readonly type: "dpo";
      readonly dpo: { readonly hyperparameters: Hyperparameters & { readonly beta: number | "auto" } };
    };

/** Where a job's metrics go as well. */
export interface Integration {
  readonly type: "wandb";
  readonly wandb: WandbPlace & { readonly project: string };
}

export interface JobObject {
  readonly id: string;
  readonly object: "fine_tuning.job";
  readonly created_at: number;
  readonly model: string;
  readonly organization_id: string;
  readonly training_file: string;
  readonly validation_file: string | null;
  readonly hyperparameters: Hyperparameters;
  readonly method: Method;
  readonly seed: number;
  readonly user_provided_suffix: string | null;
  readonly metadata: Readonly<Record<string, string>> | null;
  readonly integrations: readonly Integration[];
  /** Of a job that runs, by the steps it has done; null: not known. */
  estimated_finish: number | null;
  status: JobStatus;
  error: { readonly code: string; readonly message: string; readonly param: string | null } | null;
  fine_tuned_model: string | null;
  finished_at: number | null;
  result_files: readonly string[];
  /** Tokens computed, every pass over the rows counted. */
  trained_tokens: number | null;
}

export interface EventObject {
  readonly object: "fine_tuning.job.event";
  readonly id: string;
  readonly created_at: number;
  readonly level: "info" | "warn" | "error";
  readonly message: string;
  readonly type: "message" | "metrics";
  readonly data: Readonly<Record<string, unknown>>;
}

export interface CheckpointObject {
  readonly object: "fine_tuning.job.checkpoint";
  readonly id: string;
  readonly created_at: number;
  readonly fine_tuned_model_checkpoint: string;
  readonly fine_tuning_job_id: string;
  readonly step_number: number;
  readonly metrics: { readonly step: number; readonly train_loss?: number; readonly full_valid_loss?: number };
}

/** The page of a list, newest first unless told, that a query asks for: `limit`, `after` (an id) and `order`. */
export function page<T extends { readonly id: string }>(
  newestFirst: readonly T[],
  query: Readonly<Record<string, string>>,
  { limit: usual, most }: { readonly limit: number; readonly most: number },
): object {
  const limit = query.limit === undefined ? usual : Number(query.limit);
  if (!Number.isInteger(limit) || limit < 1 || limit > most) {
    throw new ApiError(400, `limit: expected a whole number from 1 to ${most}`, { param: "limit" });
  }
  const { order = "desc", after } = query;
  if (order !== "desc" && order !== "asc") throw new ApiError(400, "order: expected asc or desc", { param: "order" });
  const all = order === "desc" ? newestFirst : [...newestFirst].reverse();
  const at = after === undefined ? 0 : all.findIndex(({ id }) => id === after) + 1;
  if (after !== undefined && at === 0) {
    throw new ApiError(400, `after: '${after.slice(0, 100)}' is not in this list`, { param: "after" });
  }
  const data = all.slice(at, at + limit);
  const [first_id, last_id] = [data[0]?.id ?? null, data.at(-1)?.id ?? null];
  return { object: "list", data, first_id, last_id, has_more: at + data.length < all.length };
}
