import { mkdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { attempt } from "../files.js";
import { waitForFolder } from "../lock.js";
import { plainFolder } from "../paths.js";
import { linkBlob, lockFolderOf, repositoryFolder, writeRef } from "./cache.js";
import type { RemoteFile } from "./listing.js";
import type { HubName } from "./name.js";
import { hubCache, ownModels } from "./settings.js";

/** Looks whether there is room in a folder for what is not there yet. */
export type SpaceCheck = (folder: string, files: readonly RemoteFile[], pathOf: Store["pathOf"]) => Promise<void>;

/** Where a download goes. */
export interface Store {
  /** The folder that is a model in the end. */
  readonly folder: string;
  /** Makes the folder. Throws what `check` does. */
  reserve(files: readonly RemoteFile[], check: SpaceCheck): Promise<void>;
  /** Where a file's bytes go. */
  pathOf(file: RemoteFile): string;
  /** A file's bytes are there: gives it its name in the folder. */
  place(file: RemoteFile): Promise<void>;
  /** All files are in their places. */
  finish(): Promise<void>;
  /** Lets others write. */
  close(): Promise<void>;
}

/** Plain files in `output` or LOWRANK_MODELS, else the Hugging Face cache, whose writers wait for each other. */
export async function openStore(
  name: HubName,
  commit: string,
  output: string | undefined,
  signal: AbortSignal | undefined,
): Promise<Store> {
  const models = ownModels();
  const folder = output ?? (models && plainFolder(models, name));
  return folder ? plainStore(folder) : cacheStore(hubCache(), name, commit, signal);
}

/** The folder of a commit that a cache has whole, as far as sizes tell: one that cannot be written to is still read. */
export async function wholeSnapshot(
  { repository }: HubName,
  commit: string,
  files: readonly RemoteFile[],
): Promise<string | undefined> {
  const folder = join(repositoryFolder(hubCache(), repository), "snapshots", commit);
  const sizes = await Promise.all(files.map(({ path }) => stat(join(folder, path)).catch(() => undefined)));
  return files.every(({ size }, i) => sizes[i]?.size === size) ? folder : undefined;
}

function plainStore(folder: string): Store {
  const pathOf = ({ path }: RemoteFile) => join(folder, path);
  return {
    folder,
    pathOf,
    reserve: async (files, check) => {
      await attempt(folder, () => mkdir(folder, { recursive: true }));
      await check(folder, files, pathOf);
    },
    place: async () => undefined,
    finish: async () => undefined,
    close: async () => undefined,
  };
}

async function cacheStore(
  cache: string,
  { repository, revision }: HubName,
  commit: string,
  signal: AbortSignal | undefined,
): Promise<Store> {
  const folder = repositoryFolder(cache, repository);
  const snapshot = join(folder, "snapshots", commit);
  const blobs = join(folder, "blobs");
  const pathOf = ({ checksum }: RemoteFile) => join(blobs, checksum);
  const release = await waitForFolder(lockFolderOf(cache, repository), signal);
  return {
    folder: snapshot,
    pathOf,
    reserve: async (files, check) => {
      await attempt(blobs, () => mkdir(blobs, { recursive: true }));
      await check(blobs, files, pathOf);
    },
    place: (file) => attempt(snapshot, () => linkBlob(pathOf(file), join(snapshot, file.path))),
    finish: () => attempt(folder, () => writeRef(folder, revision, commit)),
    close: release,
  };
}
