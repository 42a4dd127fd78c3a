import process from "node:process";
import { loadKoffi } from "./koffi.js";

let found: (() => void) | undefined;

/**
 * Gives memory that was freed, and that the C library keeps for later, back to the system: many programs and buffers that come
 * and go on several threads leave ever more of it lying about. About a millisecond; other C libraries than glibc see to it
 * themselves, and without koffi nothing is done.
 */
export function trimHeap(): void {
  found ??= glibcTrim() ?? (() => undefined);
  found();
}

function glibcTrim(): (() => void) | undefined {
  if (process.platform !== "linux") return undefined;
  try {
    const trim = loadKoffi().load("libc.so.6").func("malloc_trim", "int", ["size_t"]);
    return () => void trim(0);
  } catch {
    return undefined;
  }
}
