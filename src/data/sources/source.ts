export type Chunks = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/** A kind of file that rows come in. */
export interface RowSource {
  /** What it is called, for messages. */
  readonly title: string;
  /** Ends of the names of such files, in lower case. */
  readonly endings: readonly [string, ...string[]];
  /** The bytes that every such file begins with. Default: it is text. */
  readonly magic?: readonly number[];
  /** Reads a row at a time; `name` is the file's name in messages. Throws UserError for a file without rows. */
  read(chunks: Chunks, name: string, options: ReadOptions): AsyncGenerator<FileRow>;
}

/** One row of a file, parsed: an object, or what is wrong with it. */
export interface FileRow {
  /** Row number, from 0, broken rows included, empty lines not. */
  readonly index: number;
  /** Line it begins on, from 1. */
  readonly line: number;
  /** Bytes it takes in the file, about; 0 for a row that was not kept. */
  readonly size: number;
  readonly value?: Readonly<Record<string, unknown>>;
  readonly error?: string;
}

export interface ReadOptions {
  /** Longest row in bytes. Default 8 MiB. Longer rows are skipped over without being held. */
  readonly maxRowBytes?: number;
}

/** What is said of a row that is longer than is read. */
export const tooLong = (maxRowBytes: number) =>
  `the row is longer than ${maxRowBytes} bytes, the most that is read; cut it into several`;
