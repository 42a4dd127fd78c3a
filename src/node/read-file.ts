import { openSync, read } from "node:fs";
import { UserError } from "../tensor/index.js";

const opened = new Map<string, number>();

/**
 * Fills `into` from the bytes at `offset` of a file, which stays open. The read is with the system before this returns, so that it
 * goes on while this thread computes. Throws UserError when the file cannot be read or ends early.
 */
export async function readFile(path: string, offset: number, into: Uint8Array): Promise<void> {
  const file = descriptor(path);
  for (let done = 0; done < into.length; ) {
    const count = await readOnce(file, path, offset + done, into.subarray(done));
    if (count === 0)
      throw new UserError(`${path}: the file ends at byte ${offset + done}; was it changed while in use?`);
    done += count;
  }
}

function descriptor(path: string): number {
  let file = opened.get(path);
  if (file === undefined) {
    try {
      file = openSync(path, "r");
    } catch (error) {
      throw new UserError(`${path}: cannot be read: ${(error as Error).message}`, { cause: error });
    }
    opened.set(path, file);
  }
  return file;
}

/** Bytes asked for at once. */
const MOST = 2 ** 30;

function readOnce(file: number, path: string, position: number, into: Uint8Array): Promise<number> {
  return new Promise((resolve, reject) => {
    read(file, into, 0, Math.min(into.length, MOST), position, (error, count) => {
      if (error) reject(new UserError(`${path}: cannot be read: ${error.message}`, { cause: error }));
      else resolve(count);
    });
  });
}
