import type { Files } from "../formats/files.js";
import { UserError } from "../tensor/index.js";

/**
 * Takes a folder for one run among all tabs of the site, making it where it is not there; the result gives it back, and removes one
 * that was made and is still empty. The browser gives up what a closed tab had. Throws UserError when another run has it.
 */
export async function lockFolder(files: Files, folder: string): Promise<() => Promise<void>> {
  const release = await take(
    folder,
    `${folder}: another run is using this folder, in this tab or another; choose another output_dir`,
  );
  try {
    const made = (await files.stat(folder)) === undefined;
    await files.makeFolder(folder);
    return async () => {
      if (made && (await files.list(folder).catch(() => ["gone"])).length === 0) await files.remove(folder);
      release();
    };
  } catch (error) {
    release();
    throw error;
  }
}

const NAME = "lowrank folder ";

/** Folders that runs have at this moment, and files that are being downloaded, in any tab of the site. */
export async function heldFolders(): Promise<ReadonlySet<string>> {
  const { held = [] } = await navigator.locks.query();
  return new Set(held.flatMap(({ name }) => (name?.startsWith(NAME) ? name.slice(NAME.length) : [])));
}

/** Does something while no other tab of the site does it at the same path. Throws UserError with `refusal` where one does. */
export async function holding<T>(path: string, refusal: string, work: () => Promise<T>): Promise<T> {
  const release = await take(path, refusal);
  try {
    return await work();
  } finally {
    release();
  }
}

function take(path: string, refusal: string): Promise<() => void> {
  return new Promise((resolve, reject) => {
    const held = navigator.locks.request(NAME + path, { ifAvailable: true }, (lock) => {
      if (lock) return new Promise<void>((release) => resolve(release));
      throw new UserError(refusal, { code: "folder_in_use" });
    });
    held.catch(reject);
  });
}
