import type { Platform } from "../../platform/platform.js";
import { UserError } from "../../tensor/index.js";

/** The lines of a file that hold anything. Throws UserError when there are none. */
export async function linesOf({ files, resolveData }: Platform, path: string): Promise<string[]> {
  const text = new TextDecoder().decode(await files.read(resolveData(path)));
  const lines = text.split("\n").map((line) => line.trim());
  const held = lines.filter((line) => line !== "");
  if (held.length === 0) throw new UserError(`${path}: expected a text a line, and it is empty`);
  return held;
}
