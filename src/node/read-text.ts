import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { UserError } from "../tensor/index.js";
import { explain } from "./files.js";

/**
 * The text of a small file that a person wrote, or of a pipe (`<(command)`, /dev/stdin). A pipe that nobody writes to
 * is empty. Throws UserError for a folder, for what is not UTF-8, and for more than `maxBytes` bytes; no more are read,
 * since /dev/zero has no end.
 */
export async function readText(path: string, maxBytes: number): Promise<string> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((error) => {
    throw explain(path, error);
  });
  try {
    const bytes = await readUpTo(handle, maxBytes + 1);
    if (bytes.length > maxBytes) throw new UserError(`${path}: it is larger than ${maxBytes / 1e6} MB`);
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    if (error instanceof TypeError) throw new UserError(`${path}: it is not UTF-8 text`, { cause: error });
    throw explain(path, error);
  } finally {
    await handle.close();
  }
}

/** Milliseconds between two looks at a pipe whose writer has nothing yet. */
const PAUSE = 10;

async function readUpTo(handle: FileHandle, most: number): Promise<Uint8Array> {
  const isPipe = (await handle.stat()).isFIFO();
  const bytes = new Uint8Array(most);
  let length = 0;
  while (length < most) {
    try {
      const { bytesRead } = await handle.read(bytes, length, most - length, null);
      if (bytesRead === 0) break;
      length += bytesRead;
    } catch (error) {
      if (!isPipe || (error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
  }
  return bytes.subarray(0, length);
}
