import { UserError } from "../tensor/index.js";
import type { ChatTemplate } from "../tokenizers/chat-template.js";
import type { Tokenizer } from "../tokenizers/tokenizer.js";
import { type EncodedRow, encodeChat, encodeText } from "./encode.js";
import { detectFormat, type Format, type FormatName, formats, type Row, type TrainOn } from "./formats.js";
import { type FileRow, readRows } from "./jsonl.js";
import { createPace, type Pace } from "./pace.js";
import type { Sample } from "./sample.js";
import { renderWithSpans } from "./spans.js";

export interface DatasetOptions {
  /** The file's name, for messages. */
  readonly name: string;
  /** Default "auto": told from the first good row's keys. */
  readonly format?: FormatName | "auto";
  /** Longest sample in tokens. Default 1024. */
  readonly maxSeqLen?: number;
  /** Default "auto": assistant turns of messages, completions of prompts, all of plain text. */
  readonly trainOn?: TrainOn | "auto";
  /** Rows longer than `maxSeqLen`: cut to it, left out, or an error. Default "truncate". */
  readonly onOverflow?: "truncate" | "skip" | "fail";
  /** Rows that are broken: an error, or left out and counted. Default "fail". */
  readonly onError?: "fail" | "skip";
  readonly maxRowBytes?: number;
  readonly signal?: AbortSignal;
}

/** What turns rows into tokens. Without `chat`, rows of messages are refused; it is asked for only when they come. */
export interface DatasetContext {
  readonly tokenizer: Tokenizer;
  readonly chat?: () => ChatTemplate;
}

export interface DroppedRow {
  readonly index: number;
  readonly line: number;
  readonly reason: string;
}

/** What was read, to be said before training. */
export interface DatasetReport {
  readonly name: string;
  readonly format: FormatName;
  readonly trainOn: TrainOn;
  /** Rows in the file. */
  readonly rows: number;
  readonly tokens: number;
  readonly supervisedTokens: number;
  /** Rows cut to the longest length. */
  readonly truncated: number;
  readonly dropped: readonly DroppedRow[];
  /** Remarks for the user: sentences without a full stop. */
  readonly notes: readonly string[];
}

export interface Dataset {
  readonly samples: readonly Sample[];
  readonly report: DatasetReport;
}

/** Rows rendered in one trip to the template's worker. */
const chunkRows = 16;

/**
 * Reads a file of rows into samples, giving the event loop a turn every few milliseconds. Throws UserError with
 * `file:line` for what the policies do not let pass, and when not one sample with a target is left.
 */
export async function loadDataset(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  context: DatasetContext,
  options: DatasetOptions,
): Promise<Dataset> {
  const { name, maxRowBytes, signal } = options;
  const pace = createPace();
  const kept = createCollector(options);
  let chosen: { format: FormatName; trainOn: TrainOn } | undefined;
  let pending: { at: FileRow; row: Row }[] = [];
  let rows = 0;
  const flush = async () => {
    const encoded = pending.length > 0 ? await encodeBatch(context, pending, chosen!.trainOn, pace) : [];
    pending = [];
    for (const { at, row } of encoded) {
      if (typeof row === "string") kept.fault(at, row);
      else kept.add(at, row);
    }
  };

  for await (const at of readRows(source, name, { maxRowBytes })) {
    signal?.throwIfAborted();
    await pace();
    rows++;
    const row = readRow(at, options, chosen);
    if ("reason" in row) {
      kept.fault(at, row.reason);
      continue;
    }
    chosen ??= { format: row.format, trainOn: chooseTrainOn(row.format, options) };
    pending.push({ at, row: row.row });
    if (pending.length === chunkRows) await flush();
  }
  await flush();

  const { samples, dropped, counts } = kept;
  if (!chosen || samples.length === 0) throw nothingLeft(name, rows, dropped);
  const notes = remarks(context, chosen.format, counts.addedEnd);
  return {
    samples,
    report: { name, ...chosen, rows, ...totals(samples), truncated: counts.truncated, dropped, notes },
  };
}

/** Gathers samples and applies the policies: what is kept, cut, left out and counted, or an error. */
function createCollector({ name, maxSeqLen = 1024, onOverflow = "truncate", onError = "fail" }: DatasetOptions) {
  const samples: Sample[] = [];
  const dropped: DroppedRow[] = [];
  const counts = { truncated: 0, addedEnd: 0 };
  const drop = ({ index, line }: FileRow, reason: string) => void dropped.push({ index, line, reason });
  const fault = (at: FileRow, reason: string) => {
    if (onError === "fail") throw new UserError(`${name}:${at.line}: ${reason}`);
    drop(at, reason);
  };
  const add = (at: FileRow, row: EncodedRow) => {
    const over = row.ids.length > maxSeqLen;
    if (over && onOverflow === "fail") {
      throw new UserError(
        `${name}:${at.line}: the row has ${row.ids.length} tokens, more than max_seq_len ${maxSeqLen}; raise max_seq_len, or set on_overflow to truncate or skip`,
      );
    }
    if (over && onOverflow === "skip") return drop(at, `longer than max_seq_len ${maxSeqLen}`);
    const ids = Int32Array.from(over ? row.ids.slice(0, maxSeqLen) : row.ids);
    const supervised = Uint8Array.from(over ? row.supervised.slice(0, maxSeqLen) : row.supervised);
    if (!supervised.includes(1)) {
      return over
        ? drop(at, `no target within max_seq_len ${maxSeqLen}`)
        : fault(at, "no target: every token is masked");
    }
    if (over) counts.truncated++;
    else if (row.addedEnd) counts.addedEnd++;
    samples.push({ index: at.index, ids, supervised });
  };
  return { samples, dropped, counts, fault, add };
}

function readRow(
  at: FileRow,
  { format = "auto" }: DatasetOptions,
  chosen: { format: FormatName } | undefined,
): { row: Row; format: FormatName } | { reason: string } {
  if (!at.value) return { reason: at.error! };
  try {
    const name = format !== "auto" ? format : (chosen?.format ?? detectFormat(at.value));
    const entry: Format = formats[name];
    if (!entry.recognises(at.value)) {
      const keys = Object.keys(at.value).slice(0, 8).join(", ") || "none";
      const why = format === "auto" ? "like the rows before it" : "as data.format says";
      return { reason: `its keys are ${keys}; expected ${name}, ${why}: ${entry.shape}` };
    }
    return { row: entry.read(at.value), format: name };
  } catch (error) {
    if (error instanceof UserError) return { reason: error.message };
    throw error;
  }
}

function chooseTrainOn(format: FormatName, { trainOn = "auto" }: DatasetOptions): TrainOn {
  const allowed: readonly TrainOn[] = formats[format].trainOn;
  if (trainOn === "auto") return allowed[0]!;
  if (allowed.includes(trainOn)) return trainOn;
  throw new UserError(
    `data.train_on: '${trainOn}' does not fit rows of the format ${format}, which take ${allowed.join(", ")}`,
  );
}

/** Rows -> ids and targets; a string is the reason why a row cannot be had. */
async function encodeBatch(
  { tokenizer, chat }: DatasetContext,
  batch: readonly { at: FileRow; row: Row }[],
  trainOn: TrainOn,
  pace: Pace,
): Promise<{ at: FileRow; row: EncodedRow | string }[]> {
  const chats = batch.flatMap(({ row }) => (row.kind === "chat" ? [row] : []));
  if (chats.length > 0 && !chat) throw new UserError("chat template: rows of messages need one, and none was given");
  const rendered = chats.length > 0 ? await renderWithSpans(chat!(), chats, trainOn === "last" ? "last" : "all") : [];
  const results: { at: FileRow; row: EncodedRow | string }[] = [];
  let next = 0;
  for (const { at, row } of batch) {
    await pace();
    const spanned = row.kind === "chat" ? rendered[next++]! : undefined;
    if (spanned && "error" in spanned) {
      results.push({ at, row: spanned.error });
      continue;
    }
    const work =
      row.kind === "text"
        ? encodeText(tokenizer, row.prompt, row.completion, trainOn, pace)
        : encodeChat(tokenizer, spanned!.text, spanned!.spans, trainOn, pace);
    results.push({ at, row: await work.catch(reasonOf) });
  }
  return results;
}

function reasonOf(error: unknown): string {
  if (error instanceof UserError) return error.message;
  throw error;
}

function nothingLeft(name: string, rows: number, dropped: readonly DroppedRow[]): UserError {
  const lines = dropped.slice(0, 5).map(({ line, reason }) => `  ${name}:${line}: ${reason}`);
  const more = dropped.length > 5 ? [`  and ${dropped.length - 5} more`] : [];
  return new UserError(
    [`${name}: nothing to train on; of ${rows} rows every one was left out:`, ...lines, ...more].join("\n"),
  );
}

function totals(samples: readonly Sample[]): { tokens: number; supervisedTokens: number } {
  let tokens = 0;
  let supervisedTokens = 0;
  for (const { ids, supervised } of samples) {
    tokens += ids.length;
    for (const flag of supervised) supervisedTokens += flag;
  }
  return { tokens, supervisedTokens };
}

function remarks({ tokenizer, chat }: DatasetContext, format: FormatName, addedEnd: number): string[] {
  const notes: string[] = [];
  if (addedEnd > 0) {
    notes.push(
      `the chat template ends answers with no token of its own: EOS was put after the last one of ${addedEnd} rows`,
    );
  }
  if (format === "messages" && tokenizer.addsBos && !/bos_token/.test(chat!().source)) {
    notes.push("the chat template writes no BOS, so conversations have none, as in transformers and vLLM");
  }
  return notes;
}

/** The report in lines to be said: format, counts, what was cut or left out and why. */
export function describeDataset({ samples, report }: Dataset): string[] {
  const { name, format, trainOn, rows, tokens, supervisedTokens, truncated, dropped, notes } = report;
  const share = ((100 * supervisedTokens) / tokens).toFixed(1);
  const reasons = new Map<string, DroppedRow[]>();
  for (const row of dropped) {
    const list = reasons.get(row.reason);
    if (list) list.push(row);
    else reasons.set(row.reason, [row]);
  }
  return [
    `${name}: ${samples.length} of ${rows} rows, format ${format}, loss on ${trainOn}: ${tokens} tokens, ${supervisedTokens} of them targets (${share}%)`,
    ...(truncated > 0 ? [`${name}: ${truncated} rows cut to max_seq_len`] : []),
    ...[...reasons].map(([reason, list]) => `${name}: left out ${list.length}: ${reason} (${someLines(list)})`),
    ...notes.map((note) => `${name}: ${note}`),
  ];
}

function someLines(rows: readonly DroppedRow[]): string {
  const shown = rows.slice(0, 5).map((row) => row.line);
  return `line ${shown.join(", ")}${rows.length > shown.length ? ", ..." : ""}`;
}
