import { type Files, join } from "../../formats/files.js";
import { claimFolder, type OwnFolder, refuseForeignFolder } from "../../formats/own-folder.js";
import { BATCH_NAME } from "../batches/store.js";
import { JOB_NAME } from "./jobs.js";
import { FILE_NAME } from "./uploads.js";

/** What a data folder holds. */
const PARTS = {
  files: FILE_NAME,
  jobs: JOB_NAME,
  batches: BATCH_NAME,
} as const;

/** The lock on a folder, and what a server that was killed while it took one leaves. */
const LOCK = /^\.lock(\.|$)/;

const own = (files: Files): OwnFolder => ({
  kind: "data",
  what: "data_dir",
  besides: LOCK,
  earlier: (folder) => holdsOnlyOurs(files, folder),
});

/**
 * Makes a folder a server's own, for its user alone, and locks it. Throws UserError, before anything is written, when it holds what a
 * server did not put there, and when another server has it.
 */
export async function openDataFolder(
  files: Files,
  lock: (folder: string) => Promise<() => Promise<void>>,
  folder: string,
): Promise<{ readonly files: string; readonly jobs: string; readonly batches: string; unlock(): Promise<void> }> {
  await refuseForeignFolder(files, folder, own(files));
  const unlock = await lock(folder);
  try {
    await claimFolder(files, folder, own(files));
    return { files: join(folder, "files"), jobs: join(folder, "jobs"), batches: join(folder, "batches"), unlock };
  } catch (error) {
    await unlock();
    throw error;
  }
}

/** A data folder from before folders were marked: files and jobs, and nothing else. */
async function holdsOnlyOurs(files: Files, folder: string): Promise<boolean> {
  const names = (await files.list(folder)).filter((name) => !LOCK.test(name));
  for (const name of names) {
    if (!Object.hasOwn(PARTS, name)) return false;
    const path = join(folder, name);
    if ((await files.stat(path))?.kind !== "folder") return false;
    const known = PARTS[name as keyof typeof PARTS];
    if (!(await files.list(path)).every((inside) => known.test(inside))) return false;
  }
  return true;
}
