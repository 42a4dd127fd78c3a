import type { Files } from "../../formats/files.js";
import { memoryFiles } from "../../formats/memory-files.js";
import { UserError } from "../../tensor/index.js";
import { directoryFiles } from "./directory-files.js";

/** The site's private storage ("opfs"), memory, or a folder that was chosen. */
export type StorageKind = "opfs" | "memory" | FileSystemDirectoryHandle;

/** Opens a kind of storage. Throws UserError where the browser has no private one here. */
export async function openStorage(storage: StorageKind): Promise<Files> {
  if (storage === "memory") return memoryFiles();
  if (storage !== "opfs") return directoryFiles(storage);
  try {
    return directoryFiles(await navigator.storage.getDirectory());
  } catch (cause) {
    throw new UserError(
      `storage: this browser has no private file system here (${(cause as Error).message}); it needs https or localhost and no private ` +
        'window. Use storage: "memory", or a chosen folder',
      { cause },
    );
  }
}
