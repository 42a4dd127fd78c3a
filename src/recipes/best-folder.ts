import { type Files, join, writeFolder } from "../formats/files.js";
import { CARD, writtenCard } from "../formats/model-card.js";
import { type Platform, readChunks } from "../platform/platform.js";
import { OUTPUT } from "./run-folder.js";

/**
 * Writes what the best evaluation of a run kept as its result, whole or not at all; `card` is its README where nobody wrote one.
 * False, and nothing written, where no evaluation kept anything.
 */
export async function writeBest(
  { files }: Pick<Platform, "files">,
  folder: string,
  output: string,
  card: string | undefined,
): Promise<boolean> {
  const best = join(folder, OUTPUT.checkpoints, OUTPUT.best);
  if (!(await files.stat(best))) return false;
  const written = (await writtenCard(files, output)) ?? card;
  await writeFolder(files, output, async (partial) => {
    await copyFiles(files, best, partial);
    if (written !== undefined) await files.write(join(partial, CARD), written);
  });
  return true;
}

async function copyFiles(files: Files, from: string, to: string): Promise<void> {
  for (const name of await files.list(from)) {
    const [source, target] = [join(from, name), join(to, name)];
    if ((await files.stat(source))?.kind === "folder") {
      await files.makeFolder(target);
      await copyFiles(files, source, target);
    } else await files.write(target, readChunks(files, source));
  }
}
