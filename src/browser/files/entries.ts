/** The names of a path, without the empty ones. */
export const partsOf = (path: string): string[] => path.split("/").filter((part) => part !== "" && part !== ".");

/** The folder of a path; `create` makes it and its parents. Throws the browser's own errors. */
export async function folderAt(
  root: FileSystemDirectoryHandle,
  parts: readonly string[],
  create = false,
): Promise<FileSystemDirectoryHandle> {
  let folder = root;
  for (const part of parts) folder = await folder.getDirectoryHandle(part, { create });
  return folder;
}

/** Errors that say that nothing is there. */
const ABSENT: readonly string[] = ["NotFoundError", "TypeMismatchError"];

/** What has a name in a folder, or undefined. */
export async function entryOf(
  folder: FileSystemDirectoryHandle,
  name: string,
): Promise<FileSystemFileHandle | FileSystemDirectoryHandle | undefined> {
  try {
    return await folder.getFileHandle(name);
  } catch (error) {
    const { name: kind } = error as Error;
    if (kind === "TypeMismatchError") return folder.getDirectoryHandle(name);
    if (kind === "NotFoundError") return undefined;
    throw error;
  }
}

/** As `entryOf`, for a path. */
export async function entryAt(root: FileSystemDirectoryHandle, path: string) {
  const parts = partsOf(path);
  const name = parts.pop();
  if (name === undefined) return root;
  try {
    return await entryOf(await folderAt(root, parts), name);
  } catch (error) {
    if (ABSENT.includes((error as Error).name)) return undefined;
    throw error;
  }
}

/** Removes a file, or a folder with all it holds; nothing there is fine. */
export async function removeAt(root: FileSystemDirectoryHandle, path: string): Promise<void> {
  const parts = partsOf(path);
  const name = parts.pop();
  if (name === undefined) return;
  try {
    await (await folderAt(root, parts)).removeEntry(name, { recursive: true });
  } catch (error) {
    if (!ABSENT.includes((error as Error).name)) throw error;
  }
}
