import { type Api, createApi, type Run, type TrainEvent, type TrainResult } from "../api/index.js";
import type { Files } from "../formats/files.js";
import { asRun } from "../recipes/events.js";
import { type DownloadOptions, download } from "./download.js";
import { type EnginePlace, threadNote } from "./engine.js";
import { directoryFiles } from "./files/directory-files.js";
import { droppedFiles } from "./files/dropped-files.js";
import { mounts } from "./files/mounts.js";
import { openStorage, type StorageKind } from "./files/storage.js";
import { heldFolders } from "./lock.js";
import { browserPlatform } from "./platform.js";
import { type UnfinishedRun, unfinishedRuns } from "./unfinished.js";

export * from "../api/index.js";
export type { Content, FileStat, Files, OpenFile } from "../formats/files.js";
export type { DownloadOptions } from "./download.js";
export type { EnginePlace } from "./engine.js";
export type { UnfinishedRun } from "./unfinished.js";

export interface BrowserOptions extends EnginePlace {
  /**
   * Where files are: the site's private storage ("opfs"), which stays; memory, which goes with the tab; or a folder that was chosen.
   * Default "opfs".
   */
  readonly storage?: StorageKind;
  /** Bytes that a run may take in all; one that needs more is refused. Default: the device's memory, at most 4 GB. */
  readonly memoryLimit?: number;
}

/** The functions of the package in a tab, and its files. */
export interface BrowserApi extends Api {
  readonly files: Files;
  /** What the page lacks, a sentence each: runs say it as notes too. */
  readonly notes: readonly string[];
  /** Puts a chosen folder (`showDirectoryPicker()`) under a name: its files are `name/...`. Throws UserError where the name is taken. */
  mount(name: string, folder: FileSystemDirectoryHandle): void;
  /**
   * Puts what was dropped into the page, or chosen in it, under a name, to be read where it lies. Throws UserError where the name is
   * taken.
   */
  drop(name: string, files: Iterable<File>): void;
  /**
   * Fetches `url` into storage as `path`, with range requests: one that was cut off goes on. Throws UserError for what does not fit, a
   * broken connection and a wrong checksum.
   */
  download(url: string, path: string, options?: DownloadOptions): Promise<void>;
  /** Runs that were stopped, or whose tab was closed, and that no tab goes on with, with what they were started with: `loraFinetune(config, { resume: true })`. */
  unfinished(): Promise<UnfinishedRun[]>;
  /** Ends the workers. */
  dispose(): Promise<void>;
}

/**
 * The package in a tab or a worker of one: training, generation and exports on ONNX Runtime in WebAssembly, or on the GPU
 * with `device: "webgpu"`, in a worker of its own.
 *
 *     const lowrank = await createBrowserApi({ engine: "/onnxruntime-web/" });
 *     lowrank.drop("model", input.files);
 *     const { adapter } = await lowrank.loraFinetune({ base: "model/smollm2.gguf", data: { train: "rows.jsonl" } }).result();
 *
 * Throws UserError where the browser has no storage of the kind that is asked for.
 */
export async function createBrowserApi(options: BrowserOptions = {}): Promise<BrowserApi> {
  const { storage = "opfs", memoryLimit, engine, worker } = options;
  const mounted = mounts(await openStorage(storage));
  const { files } = mounted;
  const platform = browserPlatform({ files, memoryLimit, engine, worker });
  const api = createApi(platform);
  const note = threadNote();
  const notes = note === undefined ? [] : [note];
  return {
    ...api,
    loraFinetune: (train, run) => withNotes(notes, api.loraFinetune(train, run)),
    files,
    notes,
    mount: (name, folder) => mounted.add(name, directoryFiles(folder)),
    drop: (name, dropped) => mounted.add(name, droppedFiles([...dropped])),
    download: (url, path, more) => download(files, url, path, more),
    async unfinished() {
      const going = await heldFolders();
      return (await unfinishedRuns(files)).filter(({ outputDir }) => !going.has(outputDir));
    },
    dispose: () => platform.dispose(),
  };
}

/** A run that says notes before its own events. */
function withNotes(notes: readonly string[], run: Run<TrainEvent, TrainResult>): Run<TrainEvent, TrainResult> {
  async function* events(): AsyncGenerator<TrainEvent, TrainResult> {
    for (const message of notes) yield { type: "note", message };
    yield* run;
    return run.result();
  }
  return asRun(events());
}
