import { baseName, type Files, join, writeFolder } from "../formats/files.js";
import type { Draft } from "./targets/target.js";

/** Writes a GGUF as the draft itself, or as a file in the folder that the draft is; `write` returns what is to be opened. */
export async function writeInFolder(
  files: Files,
  { path, asFile }: Draft,
  name: string,
  write: (path: string) => Promise<string>,
): Promise<string> {
  if (asFile) return write(path);
  let written = "";
  await writeFolder(files, path, async (folder) => {
    written = await write(join(folder, `${name}.gguf`));
  });
  return join(path, baseName(written));
}
