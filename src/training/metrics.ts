/** One optimiser step, as it is written to metrics.jsonl. Numbers that are not finite are written as null. */
export interface StepMetrics {
  /** Counted from 1. */
  readonly step: number;
  /** Passes over the rows after this step, e.g. 1.25. */
  readonly epoch: number;
  /** Mean cross entropy per supervised token, in nats. */
  readonly loss: number;
  readonly learningRate: number;
  /** L2 norm before clipping. */
  readonly gradNorm: number;
  readonly tokens: number;
  readonly supervisedTokens: number;
  readonly tokensPerSecond: number;
  readonly peakMemoryBytes: number;
  /** Since the run began; a resumed run counts on. */
  readonly elapsedSeconds: number;
  /** What else the objective tells, by its names on disk. Default: nothing. */
  readonly details?: Details;
}

/** Numbers by their names on disk, which are TRL's: `rewards/chosen`. In rows of evaluations `eval_` stands before them. */
export type Details = Readonly<Record<string, number>>;

/** One evaluation, as it is written to metrics.jsonl. */
export interface EvalMetrics {
  readonly step: number;
  readonly epoch: number;
  /** Of the validation rows, where there are any. */
  readonly evalLoss?: number;
  readonly elapsedSeconds: number;
  readonly details?: Details;
}

export type Metrics = StepMetrics | EvalMetrics;

/** The key of each field on disk; also the order of the keys in a row. */
const KEYS: Readonly<Record<Exclude<keyof StepMetrics | keyof EvalMetrics, "details">, string>> = {
  step: "step",
  epoch: "epoch",
  loss: "loss",
  evalLoss: "eval_loss",
  learningRate: "learning_rate",
  gradNorm: "grad_norm",
  tokens: "tokens",
  supervisedTokens: "supervised_tokens",
  tokensPerSecond: "tokens_per_second",
  peakMemoryBytes: "peak_memory_bytes",
  elapsedSeconds: "elapsed_seconds",
};

export function isEval(row: Metrics): row is EvalMetrics {
  return !("loss" in row);
}

/** The row as it stands in metrics.jsonl, by its keys on disk. */
export function metricsRow(metrics: Metrics): Record<string, number> {
  const { details = {}, ...rest } = metrics;
  const fields = rest as unknown as Record<string, number>;
  const own = Object.entries(KEYS).flatMap(([field, key]) => (field in fields ? [[key, fields[field]!]] : []));
  const more = Object.entries(details).map(([key, value]) => [isEval(metrics) ? `${EVAL}${key}` : key, value]);
  return Object.fromEntries([...own, ...more]);
}

/** What stands before the names of an evaluation's details. */
const EVAL = "eval_";

/** One line of metrics.jsonl, with its line end. */
export function metricsLine(metrics: Metrics): string {
  return `${JSON.stringify(metricsRow(metrics))}\n`;
}

/**
 * Reads metrics.jsonl back. A last line that was cut off by a kill is left out, and so are rows after `lastStep`, which a
 * resumed run will write again.
 */
export function readMetrics(text: string, lastStep = Number.POSITIVE_INFINITY): Metrics[] {
  const rows: Metrics[] = [];
  for (const line of text.split("\n")) {
    const row = parseRow(line);
    if (row && row.step <= lastStep) rows.push(row);
  }
  return rows;
}

function parseRow(line: string): Metrics | undefined {
  let row: Record<string, number | null>;
  try {
    row = JSON.parse(line) as Record<string, number | null>;
  } catch {
    return undefined;
  }
  if (row === null || typeof row !== "object" || typeof row.step !== "number") return undefined;
  const entries = Object.entries(KEYS).flatMap(([field, key]) => (key in row ? [[field, row[key] ?? Number.NaN]] : []));
  const known = new Set(Object.values(KEYS));
  const others = Object.entries(row).filter(([key]) => !known.has(key));
  const bare = (key: string) => (!(KEYS.loss in row) && key.startsWith(EVAL) ? key.slice(EVAL.length) : key);
  const details = Object.fromEntries(others.map(([key, value]) => [bare(key), value ?? Number.NaN]));
  return { ...Object.fromEntries(entries), ...(others.length > 0 ? { details } : {}) } as unknown as Metrics;
}
