import { UserError } from "../tensor/index.js";
import type { Files } from "./files.js";

export type JsonObject = Record<string, unknown>;

/** Objects and lists inside each other; the Rust tokenizers and safetensors read no deeper either. */
const DEEPEST = 128;

/**
 * Parses a JSON object strictly: UTF-8 must be valid, nothing nests deeper than `DEEPEST`, and (unless `unique` is false) no
 * object may name a key twice or use `__proto__`. Python writes NaN and Infinity as they are; they become what transformers
 * itself writes for them, `{"__float__": "Infinity"}`. Throws UserError that starts with `where`.
 */
export function parseObject(where: string, source: Uint8Array | string, { unique = true } = {}): JsonObject {
  let value: unknown;
  try {
    const text = typeof source === "string" ? source : new TextDecoder("utf-8", { fatal: true }).decode(source);
    value = JSON.parse(checkedText(where, text, unique));
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(`${where}: not valid JSON (${(error as Error).message})`, {
      cause: error,
      code: "invalid_file",
    });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UserError(`${where}: a JSON object was expected`, { code: "invalid_file" });
  }
  return value as JsonObject;
}

export { shown } from "../tensor/index.js";

/** Reads and parses a JSON object; undefined when the file is not there. */
export async function readObject(files: Files, path: string, maxBytes?: number): Promise<JsonObject | undefined> {
  if ((await files.stat(path))?.kind !== "file") return undefined;
  return parseObject(path, await files.read(path, maxBytes));
}

/** The bytes of a JSON file: two spaces, a newline at the end. */
export function jsonBytes(value: unknown): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`);
}

/**
 * Walks JSON text once, before it is parsed: refuses what nests too deeply and keys that JSON.parse would silently merge, and
 * gives the text back with Python's numbers replaced.
 */
function checkedText(where: string, text: string, unique: boolean): string {
  const open: (Set<string> | undefined)[] = [];
  let [result, done] = ["", 0];
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === OPEN_OBJECT || c === OPEN_LIST) {
      if (open.length === DEEPEST)
        throw new UserError(`${where}: it nests objects and lists more than ${DEEPEST} deep`, { code: "invalid_file" });
      open.push(unique && c === OPEN_OBJECT ? new Set() : undefined);
    } else if (c === CLOSE_OBJECT || c === CLOSE_LIST) open.pop();
    else if (c === QUOTE) {
      const start = i;
      i = endOfString(text, start);
      const keys = open[open.length - 1];
      if (keys && isKey(text, i)) addKey(where, keys, JSON.parse(text.slice(start, i + 1)) as string);
    } else if (c === 0x4e || c === 0x49 || c === MINUS) {
      PYTHON_FLOAT.lastIndex = i;
      const [float] = PYTHON_FLOAT.exec(text) ?? [];
      if (float === undefined) continue;
      result += `${text.slice(done, i)}{"__float__":"${float}"}`;
      done = i + float.length;
      i = done - 1;
    }
  }
  return done === 0 ? text : result + text.slice(done);
}

const [OPEN_OBJECT, CLOSE_OBJECT, OPEN_LIST, CLOSE_LIST, QUOTE, BACKSLASH, MINUS] = [...'{}[]"\\-'].map((c) =>
  c.charCodeAt(0),
);
const PYTHON_FLOAT = /NaN|-?Infinity/y;

/** Where the string that begins at `start` ends. */
function endOfString(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === QUOTE) return i;
    if (c === BACKSLASH) i++;
  }
  return text.length;
}

function isKey(text: string, end: number): boolean {
  let next = end + 1;
  while (/\s/.test(text[next] ?? "")) next++;
  return text[next] === ":";
}

function addKey(where: string, keys: Set<string>, key: string): void {
  if (keys.has(key))
    throw new UserError(`${where}: the key ${JSON.stringify(key)} is there twice`, { code: "invalid_file" });
  if (key === "__proto__") throw new UserError(`${where}: the key "__proto__" is refused`, { code: "invalid_file" });
  keys.add(key);
}
