import { baseName, type Files, join } from "../formats/files.js";
import { type Platform, readChunks } from "../platform/platform.js";
import type { NamedFile } from "../studio/backend.js";
import type { StudioHost } from "../studio/host.js";
import type { PortStudio } from "../studio/port.js";
import { createStudio } from "../studio/studio.js";
import { UserError } from "../tensor/index.js";
import { DOWNLOADED, downloadedModels, fetchModel } from "./fetch-model.js";
import { type HeldFile, heldFile, heldFiles } from "./files/dropped-files.js";
import { partsOf } from "./files/entries.js";
import { mounts } from "./files/mounts.js";
import { openStorage } from "./files/storage.js";
import { heldFolders } from "./lock.js";
import { browserPlatform } from "./platform.js";
import { siteFiles } from "./site-files.js";

/** Under which name dropped models are known. */
const DROPPED = "dropped";

/** What a page cannot do, and what to do instead. */
const LACKS = {
  serve:
    "A page has no address at which programs could ask it. To serve the adapter, save it, and call lowrank serve with it and its base.",
} as const;

const ONE_THREAD =
  "This page is not cross-origin isolated, so it trains on one thread. Once its files are kept for use without a network, loading it " +
  "again isolates it.";

/**
 * The studio in a worker of a page, with no server: runs are in the site's private storage, models are those that the site brings with it
 * and those that are dropped. `site`: the address of its folder, with a slash at the end; docs/studio.md says which files are in it.
 */
export async function openTabStudio(site: string, onError: (error: unknown) => void): Promise<PortStudio> {
  const [storage, brought] = await Promise.all([storageHere(), siteFiles(site)]);
  const { files, add } = mounts(storage.files);
  const dropped = new Map<string, HeldFile>();
  add("models", brought);
  add(DROPPED, heldFiles(dropped, "what was dropped"));
  const engine = { engine: new URL("engine/", site), worker: new URL("engine-worker.js", site) };
  const platform: Platform = { ...browserPlatform({ files, ...engine }), resolveModel: (base) => known(dropped, base) };
  const host: StudioHost = {
    folder: "runs",
    storage: { models: DOWNLOADED, room },
    models: async () => [
      { name: "models/tiny", from: "comes with this page" },
      ...(await downloadedModels(files)).map((name) => ({ name, from: "downloaded, kept by this browser" })),
      ...basesOf(dropped).map((name) => ({ name, from: "dropped into this page" })),
    ],
    isTaken: async (folder) => (await heldFolders()).has(folder),
    download: (address, { signal, onProgress }) =>
      fetchModel(files, address, { signal, onProgress: ({ done, total = 0 }) => onProgress(done, total) }),
    notes: [...storage.notes, ...(globalThis.crossOriginIsolated ? [] : [ONE_THREAD])],
    lacks: LACKS,
  };
  return {
    ...createStudio(platform, host, onError),
    offer: async (given) => ({ base: keep(dropped, given) }),
    files: (path) => namedFiles(files, path),
  };
}

/** The site's private storage; where a browser has none, in some private windows, memory. */
async function storageHere(): Promise<{ readonly files: Files; readonly notes: readonly string[] }> {
  try {
    return { files: await openStorage("opfs"), notes: [] };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    const note =
      "This browser gives the page no storage here, so runs are gone when it is closed: save what you want to keep.";
    return { files: await openStorage("memory"), notes: [note] };
  }
}

/** How full the site's storage is; a browser may not say it. */
async function room(): Promise<{ readonly used: number | null; readonly quota: number | null }> {
  const { usage = null, quota = null } = (await navigator.storage?.estimate?.()) ?? {};
  return { used: usage, quota };
}

const baseOf = (path: string): string => join(DROPPED, path.split("/")[0]!);

const basesOf = (dropped: ReadonlyMap<string, HeldFile>): string[] => [...new Set([...dropped.keys()].map(baseOf))];

/** The base as it is. Throws UserError for one that was dropped into the page before it was loaded again. */
function known(dropped: ReadonlyMap<string, HeldFile>, base: string): string {
  if (!base.startsWith(`${DROPPED}/`) || basesOf(dropped).includes(base)) return base;
  throw new UserError(
    `${base}: it was dropped into this page before it was loaded again; drop the same files once more, on the screen of models`,
    { code: "not_found" },
  );
}

/** Takes dropped files under a name that no other files have; the same ones again have the name that they had. */
function keep(dropped: Map<string, HeldFile>, given: readonly NamedFile[]): string {
  const paths = given.map(({ path }) => partsOf(path));
  if (paths.length === 0)
    throw new UserError("no files came; drop a GGUF file, or a folder with config.json and safetensors");
  const top = paths[0]![0]!;
  const isOne = paths.every((parts) => parts[0] === top);
  const inner = paths.map((parts) => (isOne ? parts.slice(1) : parts).join("/"));
  for (let n = 1; ; n++) {
    const name = nameOf(isOne ? top : "model", n);
    const files = new Map(given.map(({ file }, i) => [partsOf(`${name}/${inner[i]}`).join("/"), heldFile(file)]));
    const there = [...dropped].filter(([path]) => baseOf(path) === join(DROPPED, name));
    const isSame = there.length === files.size && there.every(([path, file]) => isAlike(file, files.get(path)));
    if (there.length > 0 && !isSame) continue;
    for (const [path, file] of files) dropped.set(path, file);
    return join(DROPPED, name);
  }
}

/** `model.gguf`, `model-2.gguf`, ... */
const nameOf = (name: string, n: number): string => (n === 1 ? name : name.replace(/(\.gguf)?$/i, `-${n}$1`));

const isAlike = (one: HeldFile, other: HeldFile | undefined): boolean =>
  one.size === other?.size && one.modified === other.modified;

/** A file, or all that a folder holds, by paths from its own name on. */
async function namedFiles(files: Files, path: string, name = baseName(path)): Promise<NamedFile[]> {
  const found = await files.stat(path);
  if (!found) throw new UserError(`${path}: no such file or folder`, { code: "not_found" });
  if (found.kind === "file") return [{ path: name, file: await blobOf(files, path) }];
  const inside = (await files.list(path)).map((inner) => namedFiles(files, join(path, inner), `${name}/${inner}`));
  return (await Promise.all(inside)).flat();
}

/** A file's bytes, which the browser keeps where it has room. */
async function blobOf(files: Files, path: string): Promise<Blob> {
  const parts: Blob[] = [];
  for await (const chunk of readChunks(files, path)) parts.push(new Blob([chunk as Uint8Array<ArrayBuffer>]));
  return new Blob(parts);
}
