import { UserError } from "../tensor/index.js";
import type { Files } from "./files.js";

export type JsonObject = Record<string, unknown>;

/**
 * Parses a JSON object strictly: UTF-8 must be valid, and (unless `unique` is false) no object may name a key twice or
 * use `__proto__`. Throws UserError that starts with `where`.
 */
export function parseObject(where: string, source: Uint8Array | string, { unique = true } = {}): JsonObject {
  let value: unknown;
  let text: string;
  try {
    text = typeof source === "string" ? source : new TextDecoder("utf-8", { fatal: true }).decode(source);
    value = JSON.parse(text);
  } catch (error) {
    throw new UserError(`${where}: not valid JSON (${(error as Error).message})`, { cause: error });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UserError(`${where}: a JSON object was expected`);
  }
  if (unique) checkKeys(where, text);
  return value as JsonObject;
}

/** Reads and parses a JSON object; undefined when the file is not there. */
export async function readObject(files: Files, path: string, maxBytes?: number): Promise<JsonObject | undefined> {
  if ((await files.stat(path))?.kind !== "file") return undefined;
  return parseObject(path, await files.read(path, maxBytes));
}

/** The bytes of a JSON file: two spaces, a newline at the end. */
export function jsonBytes(value: unknown): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`);
}

/** Walks JSON text that is known to parse, and refuses keys that JSON.parse would silently merge. */
function checkKeys(where: string, text: string): void {
  const open: Set<string>[] = [];
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 0x7b) open.push(new Set());
    else if (c === 0x7d) open.pop();
    else if (c === 0x22) {
      const start = i++;
      for (; text.charCodeAt(i) !== 0x22; i++) if (text.charCodeAt(i) === 0x5c) i++;
      let next = i + 1;
      while (/\s/.test(text[next] ?? "")) next++;
      if (text[next] !== ":") continue;
      const key = JSON.parse(text.slice(start, i + 1)) as string;
      const keys = open[open.length - 1]!;
      if (keys.has(key)) throw new UserError(`${where}: the key ${JSON.stringify(key)} is there twice`);
      if (key === "__proto__") throw new UserError(`${where}: the key "__proto__" is refused`);
      keys.add(key);
    }
  }
}
