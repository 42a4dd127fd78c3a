import { UserError } from "../../tensor/index.js";
import { jsonValue } from "../json-value.js";
import { shown } from "../shown.js";
import { type Chunks, type FileRow, type ReadOptions, type RowSource, tooLong } from "./source.js";
import { withoutBom } from "./utf8.js";

const lf = 0x0a;

/**
 * Reads JSONL, or a JSON array of objects, from chunks of bytes, a row at a time; which of the two is told from the first
 * character. Takes BOM, CRLF and empty lines. A row that is too long, not UTF-8, not JSON or not an object comes with
 * `error`. Throws UserError for UTF-16 and for a file without rows; `name` is the file's name in messages.
 */
export async function* readRows(
  source: Chunks,
  name: string,
  { maxRowBytes = 1 << 23 }: ReadOptions = {},
): AsyncGenerator<FileRow> {
  let scanner: Scanner | undefined;
  let index = 0;
  let line = 1;
  for await (const chunk of withoutBom(source, name)) {
    if (!scanner) {
      const first = chunk.find((byte) => !isSpace(byte));
      if (first === undefined) {
        for (const byte of chunk) if (byte === lf) line++;
        continue;
      }
      scanner = first === 0x5b ? arrayScanner(maxRowBytes, line) : lineScanner(maxRowBytes, line);
    }
    for (const raw of scanner.push(chunk)) yield { index: index++, ...parseRow(raw, maxRowBytes) };
  }
  for (const raw of scanner?.end() ?? []) yield { index: index++, ...parseRow(raw, maxRowBytes) };
  if (index === 0)
    throw new UserError(`${name}: holds no rows; expected JSONL (one object a line) or a JSON array`, {
      code: "invalid_rows",
    });
}

export const jsonLines: RowSource = { title: "JSONL, JSON", endings: [".jsonl", ".ndjson", ".json"], read: readRows };

/** Bytes of one row; `tooLong` when they were not kept, `broken` when the file ends or goes on wrongly. */
interface RawRow {
  readonly line: number;
  readonly bytes?: Uint8Array;
  readonly broken?: string;
}

interface Scanner {
  push(chunk: Uint8Array): Iterable<RawRow>;
  end(): Iterable<RawRow>;
}

function parseRow({ line, bytes, broken }: RawRow, maxRowBytes: number): Omit<FileRow, "index"> {
  if (broken !== undefined) return { line, size: 0, error: broken };
  if (!bytes) return { line, size: 0, error: tooLong(maxRowBytes) };
  return { line, size: bytes.length, ...parseObject(bytes) };
}

function parseObject(bytes: Uint8Array): Pick<FileRow, "value" | "error"> {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return { error: "not UTF-8; save the file as UTF-8" };
  }
  try {
    const value = jsonValue(text);
    if (value !== null && typeof value === "object" && !Array.isArray(value)) {
      return { value: value as Record<string, unknown> };
    }
    return { error: `expected an object, got ${Array.isArray(value) ? "an array" : shown(text.trim())}` };
  } catch (error) {
    const hint = /^\s*\{\s*$/.test(text) ? ". A row has to be on one line, or the rows in one JSON array" : "";
    return { error: `${(error as UserError).message}${hint}` };
  }
}

/** Bytes of a row that may come in many chunks; gives up keeping them past `limit`. */
function rowBuffer(limit: number) {
  let parts: Uint8Array[] = [];
  let length = 0;
  return {
    add(part: Uint8Array) {
      length += part.length;
      if (length > limit) parts = [];
      else if (part.length > 0) parts.push(part.slice());
    },
    /** The bytes, or undefined when they were too many. Starts the next row. */
    take(): Uint8Array | undefined {
      const kept = length <= limit ? new Uint8Array(length) : undefined;
      let at = 0;
      for (const part of kept ? parts : []) {
        kept!.set(part, at);
        at += part.length;
      }
      parts = [];
      length = 0;
      return kept;
    },
  };
}

function lineScanner(limit: number, line: number): Scanner {
  const buffer = rowBuffer(limit);
  const finish = (): RawRow[] => {
    const bytes = buffer.take();
    const row = bytes?.every(isSpace) ? [] : [{ line, bytes }];
    line++;
    return row;
  };
  return {
    *push(chunk) {
      let from = 0;
      for (let to = chunk.indexOf(lf); to >= 0; to = chunk.indexOf(lf, from)) {
        buffer.add(chunk.subarray(from, to));
        from = to + 1;
        yield* finish();
      }
      buffer.add(chunk.subarray(from));
    },
    end: finish,
  };
}

/** Cuts `[ {...}, {...} ]` at its commas by nesting depth and strings alone; each piece is then parsed by itself. */
function arrayScanner(limit: number, line: number): Scanner {
  const buffer = rowBuffer(limit);
  let rowLine = line;
  let depth = 0;
  let inString = false;
  let escaped = false;
  let blank = true;
  let closed = false;
  let trailing: number | undefined;
  const finish = (): RawRow => {
    blank = true;
    return { line: rowLine, bytes: buffer.take() };
  };
  return {
    *push(chunk) {
      let from = 0;
      for (let i = 0; i < chunk.length; i++) {
        const byte = chunk[i]!;
        if (byte === lf) line++;
        if (closed) {
          if (!isSpace(byte)) trailing ??= line;
          continue;
        }
        if (depth > 0 && blank && !isSpace(byte) && byte !== 0x2c && byte !== 0x5d) [blank, rowLine] = [false, line];
        if (inString) {
          if (escaped) escaped = false;
          else if (byte === 0x5c) escaped = true;
          else if (byte === 0x22) inString = false;
          continue;
        }
        if (byte === 0x22) inString = true;
        else if (byte === 0x5b || byte === 0x7b) {
          if (depth++ === 0) from = i + 1;
        } else if (byte === 0x5d || byte === 0x7d) depth--;
        if (depth === 0 && byte === 0x5d) closed = true;
        if (closed || (depth === 1 && byte === 0x2c)) {
          buffer.add(chunk.subarray(from, i));
          from = i + 1;
          if (!blank || byte === 0x2c) yield finish();
          else buffer.take();
        }
      }
      if (!closed && depth > 0) buffer.add(chunk.subarray(from));
    },
    *end() {
      if (!closed) yield { line: rowLine, broken: "the file ends inside the JSON array that it begins with" };
      else if (trailing !== undefined) yield { line: trailing, broken: "text after the end of the JSON array" };
    },
  };
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === lf || byte === 0x0d || byte === 0x09;
}
