import { UserError } from "../../tensor/index.js";
import { shown } from "../shown.js";
import { type Chunks, type FileRow, type ReadOptions, tooLong } from "./source.js";
import { withoutBom } from "./utf8.js";

interface DelimitedOptions extends ReadOptions {
  /** One character. */
  readonly delimiter: string;
}

/**
 * Reads text in columns (CSV of RFC 4180, or TSV) whose first line names the columns; every value is text. Takes BOM, CRLF and empty lines, and
 * newlines within quotes. A row that is too long, or has other than the header's number of fields, comes with `error`.
 * Throws UserError for bytes that are not UTF-8, for a header that names a column twice, and for a file without rows.
 */
export async function* readDelimited(
  source: Chunks,
  name: string,
  { delimiter, maxRowBytes = 1 << 23 }: DelimitedOptions,
): AsyncGenerator<FileRow> {
  const scanner = createScanner(delimiter, maxRowBytes);
  let columns: readonly string[] | undefined;
  let index = 0;
  for await (const text of decoded(source, name)) {
    for (const record of scanner.push(text)) {
      if (!columns) columns = readHeader(record, name, delimiter);
      else yield { index: index++, line: record.line, ...rowOf(record, columns, maxRowBytes) };
    }
  }
  for (const record of scanner.end()) {
    if (!columns) columns = readHeader(record, name, delimiter);
    else yield { index: index++, line: record.line, ...rowOf(record, columns, maxRowBytes) };
  }
  if (index === 0)
    throw new UserError(`${name}: holds no rows; expected a line with the columns' names, then rows`, {
      code: "invalid_rows",
    });
}

async function* decoded(source: Chunks, name: string) {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  try {
    for await (const chunk of withoutBom(source, name)) yield decoder.decode(chunk, { stream: true });
    yield decoder.decode();
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new UserError(`${name}: not UTF-8; save the file as UTF-8`, { code: "invalid_rows" });
  }
}

/** Fields of one row. */
interface DelimitedRow {
  readonly line: number;
  readonly fields: readonly string[];
  /** Characters; past the limit the fields are not kept. */
  readonly size: number;
  readonly broken?: string;
}

function readHeader({ fields, broken }: DelimitedRow, name: string, delimiter: string): string[] {
  if (broken) throw new UserError(`${name}:1: ${broken}`, { code: "invalid_rows" });
  const other = [",", ";", "\t"].find((sign) => sign !== delimiter && fields.length === 1 && fields[0]!.includes(sign));
  if (other) {
    throw new UserError(
      `${name}: its columns are apart by ${JSON.stringify(other)}, and ${JSON.stringify(delimiter)} was expected; save it as CSV with commas, or as TSV with tabs`,
      { code: "invalid_rows" },
    );
  }
  const names = fields.map((field, i) => field.trim() || `(column ${i + 1} without a name)`);
  const twice = names.find((column, i) => names.indexOf(column) < i);
  if (twice)
    throw new UserError(`${name}: its first line names the column ${shown(twice)} twice`, { code: "invalid_rows" });
  return names;
}

function rowOf(
  { fields, size, broken }: DelimitedRow,
  columns: readonly string[],
  maxRowBytes: number,
): Pick<FileRow, "size" | "value" | "error"> {
  if (broken) return { size: 0, error: broken };
  if (size > maxRowBytes) return { size: 0, error: tooLong(maxRowBytes) };
  if (fields.length !== columns.length) {
    return { size, error: `it has ${fields.length} fields, and the first line names ${columns.length} columns` };
  }
  return { size, value: Object.fromEntries(columns.map((column, i) => [column, fields[i]!])) };
}

/** Where the scanner is: before a field, in a plain or quoted one, or behind the quote that may end it. */
type Place = "start" | "plain" | "quoted" | "closing";

function createScanner(delimiter: string, limit: number) {
  const border = new RegExp(`[${delimiter}\n]`, "g");
  let place: Place = "start";
  let [line, rowLine, size] = [1, 1, 0];
  let fields: string[] = [];
  let [field, quoted] = ["", false]; // the field so far; whether any of the row's was quoted
  let broken: string | undefined;

  const keep = (text: string) => {
    size += text.length;
    if (size <= limit) field += text;
    else [fields, field] = [[], ""];
  };
  const endField = () => {
    fields.push(field);
    [field, place] = ["", "start"];
  };
  /** The row; none for an empty line. */
  const endRow = (): DelimitedRow[] => {
    if (place === "plain" && field.endsWith("\r")) field = field.slice(0, -1);
    endField();
    const blank = fields.length === 1 && fields[0] === "" && !quoted && size <= limit;
    const row = { line: rowLine, fields, size, ...(broken === undefined ? {} : { broken }) };
    [fields, size, quoted, broken, rowLine] = [[], 0, false, undefined, line];
    return blank ? [] : [row];
  };
  /** Takes what a quoted field holds up to a quote. Returns where it stopped. */
  const takeQuoted = (text: string, at: number): number => {
    const quote = text.indexOf('"', at);
    const piece = text.slice(at, quote < 0 ? text.length : quote);
    for (let i = piece.indexOf("\n"); i >= 0; i = piece.indexOf("\n", i + 1)) line++;
    keep(piece);
    if (quote < 0) return text.length;
    place = "closing";
    return quote + 1;
  };
  /** Takes plain text. */
  const takePlain = (piece: string) => {
    if (place === "closing") {
      if (piece !== "\r") broken ??= "text after the quote that closes a field; a quote within one is written twice";
    } else {
      keep(piece);
      place = "plain";
    }
  };

  return {
    *push(text: string): Generator<DelimitedRow> {
      for (let at = 0; at < text.length; ) {
        if (place === "quoted") {
          at = takeQuoted(text, at);
        } else if (text[at] === '"' && place !== "plain") {
          if (place === "closing") keep('"');
          [place, quoted, at] = ["quoted", true, at + 1];
        } else {
          border.lastIndex = at;
          const to = border.exec(text)?.index ?? text.length;
          if (to > at) takePlain(text.slice(at, to));
          at = to + 1;
          if (text[to] === delimiter) endField();
          else if (to < text.length) {
            line++;
            yield* endRow();
          }
        }
      }
    },
    end(): DelimitedRow[] {
      if (place === "quoted") broken = `the file ends inside a quoted field of the row that begins on line ${rowLine}`;
      return endRow();
    },
  };
}
