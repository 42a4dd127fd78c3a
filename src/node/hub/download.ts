import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, rename, rm, stat, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { unsafeName } from "../../formats/files.js";
import { UserError } from "../../tensor/index.js";
import { option } from "../../tensor/option.js";
import { toDisk } from "../files.js";
import { resolveModel } from "../paths.js";
import { type HubAccess, request, type Subject } from "./http.js";
import { listFiles, type RemoteFile, resolveCommit } from "./listing.js";
import { type HubName, MAIN, repositoryOf } from "./name.js";
import { offlineBy } from "./settings.js";
import { openStore, type Store, wholeSnapshot } from "./store.js";

export interface DownloadOptions extends HubAccess {
  /** Branch, tag or commit. Default: the one in `owner/name@revision`, else "main". */
  readonly revision?: string;
  /** Only files whose name matches one of these (`*` and `?`). Default: what a model needs. */
  readonly include?: readonly string[];
  /** A folder for the files themselves. Default: the Hugging Face cache, or LOWRANK_MODELS where it is set. */
  readonly output?: string;
  /** Called as bytes arrive. */
  readonly onProgress?: (progress: DownloadProgress) => void;
}

export interface DownloadProgress {
  readonly file: string;
  /** Bytes of all files that are here, and in all. */
  readonly done: number;
  readonly total: number;
}

/** What a model needs: weights as safetensors or GGUF, and the small files beside them. */
const MODEL_FILES = ["*.safetensors", "*.json", "*.gguf", "*.jinja", "tokenizer.model", "LICENSE*", "README.md"];
const ATTEMPTS = 4;
const SHA256_DIGITS = 64;

/** A repository at one commit. */
interface Source extends Subject {
  readonly commit: string;
  readonly access: HubAccess;
}

/**
 * Downloads `owner/name` or `owner/name@revision` from a Hugging Face hub into the cache that huggingface_hub keeps (HF_HUB_CACHE,
 * HF_HOME), into LOWRANK_MODELS or into `output`. Every file goes to `<name>.incomplete` first, continues from there when an
 * earlier download was cut off, and takes its name only after its checksum was right. Returns the folder of the model. With
 * HF_HUB_OFFLINE nothing is requested: the folder is the one that is there. Throws UserError for a repository or revision that
 * is not there, a gated one without a token, an unsafe file name or a bad checksum.
 */
export async function downloadModel(repository: string, options: DownloadOptions = {}): Promise<string> {
  const name = repositoryOf(repository, options.revision);
  const offline = offlineBy();
  if (offline) return whatIsThere(name, options, offline);
  const { endpoint, token, signal } = options;
  const access = { endpoint, token, signal };
  const source = { ...name, commit: await resolveCommit(name, access), access };
  const files = await chosenFiles(source, options.include);
  const store = await openStore(name, source.commit, options.output, signal).catch(async (error: unknown) => {
    const whole = error instanceof UserError ? await wholeSnapshot(name, source.commit, files) : undefined;
    if (whole) return whole;
    throw error;
  });
  if (typeof store === "string") return store;
  try {
    await store.reserve(files, checkSpace);
    await fetchAll(source, files, store, options);
    await store.finish();
  } finally {
    await store.close();
  }
  return store.folder;
}

/** The model that is on this machine already: nothing may be requested. */
function whatIsThere(name: HubName, { output }: DownloadOptions, offline: string): string {
  const { repository, revision } = name;
  const refused = `${repository}: ${offline} is set, so nothing is requested from the hub`;
  if (output) throw new UserError(`${refused}; without ${option("output")}, what is in the cache is used`);
  try {
    return resolveModel(revision === MAIN ? repository : `${repository}@${revision}`);
  } catch (error) {
    throw new UserError(`${refused}: ${(error as Error).message}`, { cause: error });
  }
}

async function chosenFiles(source: Source, include: readonly string[] | undefined): Promise<RemoteFile[]> {
  const { repository } = source;
  const all = await listFiles(source, source.commit, source.access);
  const files = choose(all, include);
  if (files.length === 0) {
    const some = all.slice(0, 20).map(({ path }) => path);
    throw new UserError(`${repository}: no file matches; it has ${some.join(", ")}`);
  }
  for (const { path } of files) {
    const fault = unsafeName(path);
    if (fault) throw new UserError(`${repository}: the file name ${JSON.stringify(path)} is refused: ${fault}`);
  }
  return files;
}

async function fetchAll(
  source: Source,
  files: readonly RemoteFile[],
  store: Store,
  options: DownloadOptions,
): Promise<void> {
  const total = files.reduce((sum, file) => sum + file.size, 0);
  let before = 0;
  for (const file of files) {
    const report = (done: number) => options.onProgress?.({ file: file.path, done: before + done, total });
    await fetchFile(source, file, store.pathOf(file), report);
    await store.place(file);
    before += file.size;
    report(0);
  }
}

function choose(files: readonly RemoteFile[], include: readonly string[] | undefined): RemoteFile[] {
  const patterns = (include ?? MODEL_FILES).map(globPattern);
  const chosen = files.filter(({ path }) => patterns.some((p) => p.test(path) && (include || !path.includes("/"))));
  if (include) return chosen;
  const gguf = chosen.filter(({ path }) => path.endsWith(".gguf"));
  if (chosen.some(({ path }) => path.endsWith(".safetensors"))) return chosen.filter((file) => !gguf.includes(file));
  if (gguf.length < 2) return chosen;
  throw new UserError(
    `there are several GGUF files; choose with ${option("include")}: ${gguf.map((f) => f.path).join(", ")}`,
  );
}

function globPattern(glob: string): RegExp {
  const escaped = glob.replace(/[.+^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`^${escaped.replaceAll("*", ".*").replaceAll("?", ".")}$`);
}

async function fetchFile(
  source: Source,
  file: RemoteFile,
  target: string,
  report: (done: number) => void,
): Promise<void> {
  if ((await sizeOf(target)) === file.size && (await matches(target, file))) return;
  await mkdir(dirname(target), { recursive: true });
  const partial = `${target}.incomplete`;
  if ((await sizeOf(partial)) > file.size) await rm(partial);
  for (let attempt = 1; ; attempt++) {
    try {
      await continueFile(source, file, partial, report);
      break;
    } catch (error) {
      // A cut connection leaves what came so far; a refusal is final.
      if (error instanceof UserError || source.access.signal?.aborted || attempt === ATTEMPTS)
        throw explain(file, error);
    }
  }
  if (!(await matches(partial, file))) {
    await rm(partial, { force: true });
    throw new UserError(
      `${source.repository}: ${file.path}: its checksum is wrong; what came was thrown away, download again`,
      { code: "download_failed" },
    );
  }
  await rename(partial, target);
}

function explain(file: RemoteFile, error: unknown): unknown {
  if (error instanceof UserError || (error as Error).name === "AbortError") return error;
  const { code, message, cause } = error as NodeJS.ErrnoException;
  if (code === "ENOSPC")
    return new UserError(`${file.path}: the disk is full; free some space and download again`, {
      code: "download_failed",
    });
  const detail = (cause as Error | undefined)?.message ?? message;
  return new UserError(`${file.path}: the connection broke (${detail}); download again to continue`, {
    cause: error,
    code: "download_failed",
  });
}

async function continueFile(
  source: Source,
  file: RemoteFile,
  partial: string,
  report: (done: number) => void,
): Promise<void> {
  let done = await sizeOf(partial);
  const handle = await open(partial, "a");
  try {
    report(done);
    if (done === file.size) return;
    const name = file.path.split("/").map(encodeURIComponent).join("/");
    const path = `${source.repository}/resolve/${source.commit}/${name}`;
    const headers: Record<string, string> = done > 0 ? { range: `bytes=${done}-` } : {};
    const response = await request(path, source, source.access, headers);
    if (done > 0 && response.status !== 206) {
      await handle.truncate(0);
      done = 0;
    }
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      if (done + chunk.length > file.size)
        throw new UserError(`${file.path}: more bytes came than the hub promised`, { code: "download_failed" });
      await handle.write(chunk);
      done += chunk.length;
      report(done);
    }
    if (done < file.size) throw new Error(`it ended after ${done} of ${file.size} bytes`);
    await toDisk(handle);
  } finally {
    await handle.close();
  }
}

async function matches(path: string, { checksum, size }: RemoteFile): Promise<boolean> {
  const hash = createHash(checksum.length === SHA256_DIGITS ? "sha256" : "sha1");
  if (checksum.length !== SHA256_DIGITS) hash.update(`blob ${size}\0`);
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest("hex") === checksum;
}

async function sizeOf(path: string): Promise<number> {
  return (await stat(path).catch(() => undefined))?.size ?? 0;
}

/** Throws UserError when what is still to come does not fit. */
async function checkSpace(folder: string, files: readonly RemoteFile[], pathOf: Store["pathOf"]): Promise<void> {
  const here = await Promise.all(
    files.map(async (file) => (await sizeOf(pathOf(file))) || (await sizeOf(`${pathOf(file)}.incomplete`))),
  );
  const needed = files.reduce((sum, { size }, i) => sum + Math.max(0, size - here[i]!), 0);
  const { bavail, bsize } = await statfs(folder);
  if (needed <= bavail * bsize) return;
  const gb = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;
  throw new UserError(`${folder}: ${gb(needed)} are needed and ${gb(bavail * bsize)} are free`);
}
