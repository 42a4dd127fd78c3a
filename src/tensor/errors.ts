/** What kinds of mistake programs can tell apart. A code keeps its meaning from version to version. */
export const ERROR_CODES = {
  context_length_exceeded: "a prompt and its answer do not fit into the model's context",
  device_unavailable: "the device or precision cannot be had on this machine",
  download_failed: "the hub refused, broke off, or sent something else than it promised",
  folder_in_use: "another run has the folder",
  insufficient_memory: "the run does not fit into the memory there is; it was not started",
  interrupted: "a signal ended what was being done; nothing of it was kept",
  invalid_config: "a training config is not valid; the message lists every problem",
  invalid_file: "a model, adapter or checkpoint file is damaged or not what it is called",
  invalid_rows: "rows or a file of rows cannot be read, or nothing in them can be learned",
  invalid_usage: "the command line itself is wrong",
  invalid_value: "anything else that was given is not what was expected",
  mpi_unavailable: "a run over several processes finds no MPI, or another one than that which launched it",
  not_finite: "a loss or gradient is not finite",
  not_found: "a file, folder, model or adapter is not there",
  not_the_same: "what was exported or merged does not compute what it was made of; it was not kept",
  output_taken: "an output folder or file holds something already",
  rank_lost: "a run over several processes lost one of them; its newest checkpoint can be resumed",
  reward_failed: "a reward of completions (a judge, a function) gave no number; the run has a checkpoint and can go on",
  unsupported_model: "the model is of an architecture or kind that is not supported",
  wrong_base: "an adapter was trained on another base",
} as const;

export type ErrorCode = keyof typeof ERROR_CODES;

/**
 * A mistake the user can mend: bad input, a refused option, a damaged file. The message names who, what was expected, what came and
 * what to do next. Options in it are said in TypeScript's words (`option.ts`); whoever shows it says them in his own.
 */
export class UserError extends Error {
  override name = "UserError";
  /** Default: that of a UserError which is its cause, or "invalid_value". */
  readonly code: ErrorCode;
  constructor(message: string, { cause, code }: { cause?: unknown; code?: ErrorCode } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code ?? (cause instanceof UserError ? cause.code : "invalid_value");
  }
}

/** Names that people write are shorter; comparing takes time that grows with the length of both. */
const LONGEST_NAME = 200;

/** The entry of `known` that is closest to `word` by edit distance, or undefined when none is near, or `word` is no name. */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  if (word.length > LONGEST_NAME) return undefined;
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(word.length / 2)) + 1;
  for (const candidate of known) {
    if (Math.abs(candidate.length - word.length) >= bestDistance) continue;
    const d = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (d < bestDistance) [best, bestDistance] = [candidate, d];
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length]!;
}

/** A value of parsed JSON as a message shows it; Python's `Infinity` and `NaN`, which are kept as objects, as they were written. */
export function shown(value: unknown): string {
  return value === undefined ? "nothing" : JSON.stringify(value).replace(/\{"__float__":"(-?\w+)"\}/g, "$1");
}
