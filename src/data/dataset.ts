import { UserError } from "../tensor/index.js";
import { option } from "../tensor/option.js";
import { createPace, type Pace } from "../tensor/pace.js";
import type { Tokenizer } from "../tokenizers/tokenizer.js";
import type { Columns } from "./columns.js";
import { type BatchRow, type EncodeContext, encodeBatch } from "./encode-batch.js";
import { createFieldProbe } from "./field-probe.js";
import { type FormatName, formats, rowKind } from "./formats/index.js";
import { datasetNotes } from "./notes.js";
import { type Example, type PromptRow, partsOf, type Row, type RowKind, type TrainOn } from "./row.js";
import { createRowReader, type RowReader } from "./row-reader.js";
import { MARKS, type Sample, type Side, together } from "./sample.js";
import { readSource } from "./sources/index.js";
import type { FileRow } from "./sources/source.js";
import { behindPrompt, withTaught } from "./taught.js";

export interface DatasetOptions {
  /** The file's name, for messages. */
  readonly name: string;
  /** Default "auto": told from the first good row's keys. */
  readonly format?: FormatName | "auto";
  /** What the rows have to give to learn from. Default: "texts". */
  readonly rows?: RowKind;
  /** What a teacher reads before rows that have no `teacher_prompt`, "": nothing. Default: there is no teacher. */
  readonly teacherPrompt?: string;
  /** Which column of the file is which field of a row. Default: those of the same name. */
  readonly columns?: Columns;
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

/** What turns rows into tokens, and the model that is to read them. */
export interface DatasetContext extends EncodeContext {
  /** Rows of the model's embedding: a token beyond them is refused. Default: any token of the tokenizer will do. */
  readonly vocabSize?: number;
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
  /** Some of the rows are conversations, which the chat template writes. */
  readonly chat: boolean;
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

/** Rows that are rendered and tokenised together: at most so many, and about so many characters. */
const chunk = { rows: 16, size: 1 << 20 };

/**
 * Reads a file of rows into samples, giving the event loop a turn every few milliseconds. The end of its name says how the
 * file is read (`sources.ts`). Throws UserError with `file:line` for what the policies do not let pass, and when not one
 * sample with a target is left.
 */
export async function loadDataset(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  context: DatasetContext,
  options: DatasetOptions,
): Promise<Dataset> {
  const pace = createPace();
  const kept = createCollector(context, options);
  const reader = createRowReader(options.format, options.columns, options.rows, options.teacherPrompt);
  const probe = createFieldProbe(() => context.chat!());
  let trainOn: TrainOn | undefined;
  for await (const batch of rowBatches(source, options, reader, kept, pace)) {
    trainOn ??= chooseTrainOn(reader.format!, options);
    const parts = batch.map(({ row }) => partsOf(row));
    const examples = parts.flatMap((own) => own.map(({ example }) => example));
    const taught = batch.flatMap(({ row, teacherPrompt }) =>
      teacherPrompt ? [behindPrompt(row as Example, teacherPrompt)] : [],
    );
    const encoded = (await encodeBatch(context, examples, trainOn, pace, probe)).values();
    const heard = (taught.length > 0 ? await encodeBatch(context, taught, trainOn, pace, probe) : []).values();
    for (const [i, own] of parts.entries()) {
      const rows = own.map(({ side, example }) => ({ side, example, encoded: encoded.next().value! }));
      kept.addRow(batch[i]!.at, rows, batch[i]!.teacherPrompt ? heard.next().value! : undefined);
    }
  }
  const { samples, dropped, counts } = kept;
  const { name } = options;
  if (!trainOn || samples.length === 0) throw nothingLeft(name, counts.rows, dropped);
  const { rows, truncated } = counts;
  const notes = datasetNotes(context, reader, { ...counts, unread: probe.unread() });
  const chat = counts.chats > 0;
  const report = { name, format: reader.format!, trainOn, chat, rows, ...totals(samples), truncated, dropped, notes };
  return { samples, report };
}

/** A row of a known format, and where it stands. */
interface ReadRow {
  readonly at: FileRow;
  readonly row: Row;
  readonly teacherPrompt?: string;
}

/** The rows that can be read, in batches of about the size of a chunk; the others are faults. */
async function* rowBatches(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  { name, maxRowBytes, signal }: DatasetOptions,
  reader: RowReader,
  { counts, fault }: Collector,
  pace: Pace,
): AsyncGenerator<readonly ReadRow[]> {
  let batch: ReadRow[] = [];
  let size = 0;
  for await (const { index, line, ...at } of readSource(source, name, { maxRowBytes })) {
    signal?.throwIfAborted();
    await pace();
    counts.rows++;
    const place = { index, line, size: at.size }; // without the value, which may be large
    const read = reader.read({ ...place, ...at });
    if ("reason" in read) {
      fault(place, read.reason);
      continue;
    }
    if (partsOf(read.row).some(({ example }) => isConversation(example))) counts.chats++;
    batch.push({ at: place, ...read });
    size += at.size;
    if (batch.length < chunk.rows && size < chunk.size) continue;
    yield batch;
    [batch, size] = [[], 0];
  }
  if (batch.length > 0) yield batch;
}

const isConversation = (example: Example): boolean =>
  example.kind === "chat" || (example.kind === "prompt" && typeof example.prompt !== "string");

/** What one of a row's sequences was encoded as, or why it cannot be had. */
interface EncodedPart {
  readonly encoded: readonly BatchRow[] | string;
  readonly side: Side | undefined;
  readonly example: Example;
}

/** One of a row's sequences, and the same as a teacher reads it, where that is more. */
interface ReadPart {
  readonly row: BatchRow;
  readonly side: Side | undefined;
  readonly taught: BatchRow | undefined;
}

const SEVERAL =
  "its answer has several turns, and the chat template writes one of them otherwise once more follow: give answers of one turn";

type Collector = ReturnType<typeof createCollector>;

/** Gathers samples and applies the policies: what is kept, cut, left out and counted, or an error. */
function createCollector(
  { tokenizer, vocabSize = Number.POSITIVE_INFINITY }: DatasetContext,
  { name, maxSeqLen = 1024, onOverflow = "truncate", onError = "fail" }: DatasetOptions,
) {
  const samples: Sample[] = [];
  const dropped: DroppedRow[] = [];
  const counts = { rows: 0, truncated: 0, addedEnd: 0, chats: 0, turnByTurn: 0, unwritten: new Set<string>() };
  const drop = ({ index, line }: FileRow, reason: string): undefined => {
    dropped.push({ index, line, reason });
  };
  const fault = (at: FileRow, reason: string): undefined => {
    if (onError === "fail") throw new UserError(`${name}:${at.line}: ${reason}`, { code: "invalid_rows" });
    return drop(at, reason);
  };
  const addRow = (at: FileRow, parts: readonly EncodedPart[], taught?: readonly BatchRow[] | string) => {
    if (typeof taught === "string") return fault(at, `as its teacher reads it, ${taught}`);
    const rows: ReadPart[] = [];
    for (const { encoded, side, example } of parts) {
      if (typeof encoded === "string") return fault(at, encoded);
      if (example.kind === "prompt") return addPrompt(at, example, encoded[0]!);
      if (side && encoded.length > 1) return fault(at, SEVERAL);
      if (encoded.length > 1) counts.turnByTurn++;
      rows.push(...encoded.map((row, i) => ({ row, side, taught: taught?.[i] })));
    }
    if (parts.length > 1) return add(at, rows);
    for (const row of rows) add(at, [row]);
  };
  const addPrompt = (at: FileRow, prompt: PromptRow, { ids }: BatchRow) => {
    if (ids.length === 0) return fault(at, "its prompt has no tokens: there is nothing to go on from");
    if (ids.length > maxSeqLen && onOverflow === "fail")
      throw new UserError(`${name}:${at.line}: ${overLong(ids.length, maxSeqLen)}`, { code: "invalid_rows" });
    if (ids.length > maxSeqLen)
      return drop(at, `its prompt is longer than max_seq_len ${maxSeqLen}, and prompts are not cut`);
    const beyond = ids.find((id) => id >= vocabSize);
    if (beyond !== undefined) return fault(at, beyondVocabulary(tokenizer, beyond, vocabSize));
    samples.push({ index: at.index, ids: Int32Array.from(ids), supervised: new Uint8Array(ids.length), prompt });
  };
  /** A sequence of a row; undefined where the row is left out for it. */
  const sampleOf = (at: FileRow, { row, side, taught }: ReadPart): Sample | undefined => {
    const over = row.ids.length > maxSeqLen;
    if (over && onOverflow === "fail")
      throw new UserError(`${name}:${at.line}: ${overLong(row.ids.length, maxSeqLen)}`, { code: "invalid_rows" });
    if (over && onOverflow === "skip") return drop(at, `longer than max_seq_len ${maxSeqLen}`);
    const ids = Int32Array.from(over ? row.ids.slice(0, maxSeqLen) : row.ids);
    const beyond = ids.find((id) => id >= vocabSize);
    if (beyond !== undefined) return fault(at, beyondVocabulary(tokenizer, beyond, vocabSize));
    const supervised = Uint8Array.from(over ? row.supervised.slice(0, maxSeqLen) : row.supervised);
    const learns = supervised.includes(1);
    if (!learns && over) return drop(at, `no target within max_seq_len ${maxSeqLen}`);
    if (!learns) return fault(at, "no target: every token is masked");
    const plain = { index: at.index, ids, supervised };
    const sample = taught ? withTaught(plain, taught) : plain;
    if (typeof sample === "string") return fault(at, sample);
    if (!side) return sample;
    // What is preferred is all that stands behind the prompt, as in TRL: what the template writes after the answer, too.
    supervised.fill(MARKS.target, supervised.indexOf(MARKS.target));
    return { index: at.index, ids, supervised, side };
  };
  const add = (at: FileRow, rows: readonly ReadPart[]) => {
    const own: Sample[] = [];
    for (const part of rows) {
      const sample = sampleOf(at, part);
      if (!sample) return;
      own.push(sample);
    }
    for (const role of rows.flatMap(({ row: { unwritten = [] } }) => unwritten)) counts.unwritten.add(role);
    if (rows.some(({ row: { ids } }) => ids.length > maxSeqLen)) counts.truncated++;
    else if (rows.some(({ row: { addedEnd } }) => addedEnd)) counts.addedEnd++;
    const [first, ...beside] = own as [Sample, ...Sample[]];
    samples.push(beside.length > 0 ? { ...first, beside } : first);
  };
  return { samples, dropped, counts, fault, addRow };
}

function overLong(length: number, maxSeqLen: number): string {
  return `the row has ${length} tokens, more than max_seq_len ${maxSeqLen}; raise ${option("data.maxSeqLen")}, or set ${option("data.onOverflow")} to truncate or skip`;
}

function beyondVocabulary(tokenizer: Tokenizer, id: number, vocabSize: number): string {
  return `its token ${JSON.stringify(tokenizer.token(id) ?? "")} has the id ${id}, and the model's vocabulary ends at ${vocabSize - 1}: the tokenizer has more tokens than the model. Take the token out of the rows, or use the tokenizer the model was made with`;
}

function chooseTrainOn(format: FormatName, { trainOn = "auto" }: DatasetOptions): TrainOn {
  const allowed: readonly TrainOn[] = formats[format].trainOn;
  if (trainOn === "auto") return allowed[0]!;
  if (allowed.includes(trainOn)) return trainOn;
  throw new UserError(
    `data.train_on: '${trainOn}' does not fit rows of the format ${format}, which take ${allowed.join(", ")}`,
    { code: "invalid_config" },
  );
}

function nothingLeft(name: string, rows: number, dropped: readonly DroppedRow[]): UserError {
  const lines = dropped.slice(0, 5).map(({ line, reason }) => `  ${name}:${line}: ${reason}`);
  const more = dropped.length > 5 ? [`  and ${dropped.length - 5} more`] : [];
  return new UserError(
    [`${name}: nothing to train on; of ${rows} rows every one was left out:`, ...lines, ...more].join("\n"),
    { code: "invalid_rows" },
  );
}

function totals(samples: readonly Sample[]): { tokens: number; supervisedTokens: number } {
  let tokens = 0;
  let supervisedTokens = 0;
  for (const { ids, supervised } of together(samples)) {
    tokens += ids.length;
    for (const flag of supervised) supervisedTokens += flag;
  }
  return { tokens, supervisedTokens };
}

/** The report in lines to be said: format, counts, what was cut or left out and why. */
export function describeDataset({ samples, report }: Dataset): string[] {
  const { name, format, trainOn, rows, tokens, supervisedTokens, truncated, dropped, notes } = report;
  const share = ((100 * supervisedTokens) / tokens).toFixed(1);
  const learned =
    rowKind(format) === "prompts"
      ? `prompts of ${tokens} tokens`
      : `loss on ${trainOn}: ${tokens} tokens, ${supervisedTokens} of them targets (${share}%)`;
  const reasons = new Map<string, DroppedRow[]>();
  for (const row of dropped) {
    const list = reasons.get(row.reason);
    if (list) list.push(row);
    else reasons.set(row.reason, [row]);
  }
  return [
    `${name}: ${new Set(samples.map(({ index }) => index)).size} of ${rows} rows, format ${format}, ${learned}`,
    ...(truncated > 0 ? [`${name}: ${truncated} rows cut to max_seq_len`] : []),
    ...[...reasons].map(([reason, list]) => `${name}: left out ${list.length}: ${reason} (${someLines(list)})`),
    ...notes.map((note) => `${name}: ${note}`),
  ];
}

function someLines(rows: readonly DroppedRow[]): string {
  const shown = rows.slice(0, 5).map((row) => row.line);
  return `line ${shown.join(", ")}${rows.length > shown.length ? ", ..." : ""}`;
}
