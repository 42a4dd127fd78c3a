import { UserError } from "../../tensor/index.js";
import type { Chunks } from "./source.js";

/** Takes a UTF-8 byte order mark off the start. */
export async function* withoutBom(source: Chunks, name: string): AsyncGenerator<Uint8Array> {
  let head = new Uint8Array(0);
  let started = false;
  for await (const chunk of source) {
    if (started) {
      yield chunk;
      continue;
    }
    head = concat(head, chunk);
    if (head.length < 3) continue;
    started = true;
    yield withoutMark(head, name);
  }
  if (!started) yield withoutMark(head, name);
}

function withoutMark(head: Uint8Array, name: string): Uint8Array {
  const [a, b, c] = head;
  if ((a === 0xff && b === 0xfe) || (a === 0xfe && b === 0xff)) {
    throw new UserError(`${name}: is UTF-16; save the file as UTF-8`, { code: "invalid_rows" });
  }
  return a === 0xef && b === 0xbb && c === 0xbf ? head.subarray(3) : head;
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(a.length + b.length);
  joined.set(a);
  joined.set(b, a.length);
  return joined;
}
