// Objects of OpenAI's API reference, in its own names: they go over the wire, and to the disk, as they are.

export type BatchStatus =
  | "validating"
  | "failed"
  | "in_progress"
  | "finalizing"
  | "completed"
  | "expired"
  | "cancelling"
  | "cancelled";

/** What is wrong with a batch as a whole, or with a line of its input. */
export interface BatchFault {
  readonly code: string;
  readonly message: string;
  readonly line: number | null;
  readonly param: string | null;
}

export interface BatchObject {
  readonly id: string;
  readonly object: "batch";
  readonly endpoint: string;
  readonly input_file_id: string;
  readonly completion_window: "24h";
  readonly metadata: Readonly<Record<string, string>> | null;
  /** Seconds since 1970, as every `_at`. */
  readonly created_at: number;
  readonly expires_at: number;
  status: BatchStatus;
  errors: { readonly object: "list"; readonly data: readonly BatchFault[] } | null;
  /** Answers, and requests that were refused or came too late; null where there are none, and until the end. */
  output_file_id: string | null;
  error_file_id: string | null;
  in_progress_at: number | null;
  finalizing_at: number | null;
  completed_at: number | null;
  failed_at: number | null;
  expired_at: number | null;
  cancelling_at: number | null;
  cancelled_at: number | null;
  request_counts: { total: number; completed: number; failed: number };
}

/** A line of a batch's output and error files. */
export interface BatchResult {
  readonly id: string;
  readonly custom_id: string;
  /** Null where the request was not made. */
  readonly response: { readonly status_code: number; readonly request_id: string; readonly body: unknown } | null;
  readonly error: { readonly code: string; readonly message: string } | null;
}
