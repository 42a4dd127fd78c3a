import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, rename, rm, stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { unsafeName } from "../checkpoint/files.js";
import { UserError } from "../tensor/index.js";
import { HUB_NAME, modelCache } from "./paths.js";

export interface DownloadOptions {
  /** Branch, tag or commit; default "main". */
  readonly revision?: string;
  /** Only files whose name matches one of these (`*` and `?`); default: what a model needs. */
  readonly include?: readonly string[];
  /** Default: the model cache. */
  readonly output?: string;
  /** Default: HF_ENDPOINT, else https://huggingface.co. */
  readonly endpoint?: string;
  /** Default: HF_TOKEN. Sent to the endpoint alone, never to where it redirects. */
  readonly token?: string;
  readonly onProgress?: (progress: DownloadProgress) => void;
  readonly signal?: AbortSignal;
}

export interface DownloadProgress {
  readonly file: string;
  /** Bytes of all files that are here, and in all. */
  readonly done: number;
  readonly total: number;
}

/** One file of a repository, as the hub lists it. */
interface RemoteFile {
  readonly path: string;
  readonly size: number;
  /** SHA-256 of a large file, lower-case hex. */
  readonly sha256?: string;
  /** Git's blob id of a small one: SHA-1 of `blob <size>\0` and the bytes. */
  readonly oid?: string;
}

/** What a model needs: weights as safetensors or GGUF, and the small files beside them. */
const MODEL_FILES = ["*.safetensors", "*.json", "*.gguf", "*.jinja", "tokenizer.model", "LICENSE*", "README.md"];
const ATTEMPTS = 4;

/**
 * Downloads a model from a Hugging Face hub. Every file goes to `<name>.incomplete` first, continues from there when an
 * earlier download was cut off, and takes its name only after its checksum was right. Returns the folder.
 * Throws UserError for a repository that is not there, a gated one without a token, an unsafe file name or a bad checksum.
 */
export async function downloadModel(repository: string, options: DownloadOptions = {}): Promise<string> {
  if (!HUB_NAME.test(repository)) throw new UserError(`'${repository}': expected owner/name, as the hub writes it`);
  const folder = options.output ?? join(modelCache(), repository);
  const all = await listFiles(repository, options);
  const files = choose(all, options.include);
  if (files.length === 0) {
    throw new UserError(
      `${repository}: no file matches; it has ${all
        .map((f) => f.path)
        .slice(0, 20)
        .join(", ")}`,
    );
  }
  for (const { path } of files) {
    const fault = unsafeName(path);
    if (fault) throw new UserError(`${repository}: the file name ${JSON.stringify(path)} is refused: ${fault}`);
  }
  await mkdir(folder, { recursive: true });
  await checkSpace(folder, files);
  const total = files.reduce((sum, file) => sum + file.size, 0);
  let before = 0;
  for (const file of files) {
    const report = (done: number) => options.onProgress?.({ file: file.path, done: before + done, total });
    await fetchFile(repository, file, join(folder, file.path), options, report);
    before += file.size;
    report(0);
  }
  return folder;
}

function choose(files: readonly RemoteFile[], include: readonly string[] | undefined): RemoteFile[] {
  const patterns = (include ?? MODEL_FILES).map(globPattern);
  const chosen = files.filter(({ path }) => patterns.some((p) => p.test(path) && (include || !path.includes("/"))));
  if (include) return chosen;
  const gguf = chosen.filter(({ path }) => path.endsWith(".gguf"));
  if (chosen.some(({ path }) => path.endsWith(".safetensors"))) return chosen.filter((file) => !gguf.includes(file));
  if (gguf.length < 2) return chosen;
  throw new UserError(`there are several GGUF files; choose with --include: ${gguf.map((f) => f.path).join(", ")}`);
}

function globPattern(glob: string): RegExp {
  const escaped = glob.replace(/[.+^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`^${escaped.replaceAll("*", ".*").replaceAll("?", ".")}$`);
}

async function listFiles(repository: string, options: DownloadOptions): Promise<RemoteFile[]> {
  const revision = encodeURIComponent(options.revision ?? "main");
  let url: string | undefined = `${endpointOf(options)}/api/models/${repository}/tree/${revision}?recursive=true`;
  const files: RemoteFile[] = [];
  while (url) {
    const response: Response = await request(url, repository, options);
    const entries = (await response.json()) as {
      type: string;
      path: string;
      size: number;
      oid?: string;
      lfs?: { oid?: string };
    }[];
    if (!Array.isArray(entries)) throw new UserError(`${url}: this is not a hub: it lists no files`);
    for (const { type, path, size, oid, lfs } of entries) {
      if (type === "file") files.push({ path, size, sha256: lfs?.oid, oid });
    }
    url = nextPage(response.headers.get("link"), url);
  }
  return files;
}

function nextPage(link: string | null, from: string): string | undefined {
  const next = /<([^>]+)>;\s*rel="next"/.exec(link ?? "")?.[1];
  if (!next) return undefined;
  const url = new URL(next, from);
  // The token goes along, so the next page must be on the same hub.
  return url.origin === new URL(from).origin ? url.href : undefined;
}

function endpointOf(options: DownloadOptions): string {
  return (options.endpoint ?? process.env.HF_ENDPOINT ?? "https://huggingface.co").replace(/\/+$/, "");
}

async function request(
  url: string,
  repository: string,
  options: DownloadOptions,
  headers: Record<string, string> = {},
): Promise<Response> {
  const token = options.token ?? process.env.HF_TOKEN;
  // fetch drops the authorization header itself when a redirect leads to another origin.
  const authorization: Record<string, string> = token ? { authorization: `Bearer ${token}` } : {};
  let response: Response;
  try {
    response = await fetch(url, { headers: { ...headers, ...authorization }, signal: options.signal });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    const cause = (error as { cause?: Error }).cause?.message ?? (error as Error).message;
    throw new UserError(`${new URL(url).origin}: cannot be reached: ${cause}`, { cause: error });
  }
  if (response.ok) return response;
  await response.body?.cancel();
  if (response.status === 401 || response.status === 403) {
    const how = token ? "this token may not read it" : "set HF_TOKEN";
    throw new UserError(`${repository}: access refused (${response.status}); accept its licence on the hub and ${how}`);
  }
  if (response.status === 404) throw new UserError(`${repository}: not found on ${endpointOf(options)}`);
  throw new UserError(`${url}: the hub answered ${response.status} ${response.statusText}`);
}

async function fetchFile(
  repository: string,
  file: RemoteFile,
  target: string,
  options: DownloadOptions,
  report: (done: number) => void,
): Promise<void> {
  if ((await sizeOf(target)) === file.size && (await matches(target, file))) return;
  await mkdir(dirname(target), { recursive: true });
  const partial = `${target}.incomplete`;
  if ((await sizeOf(partial)) > file.size) await rm(partial);
  for (let attempt = 1; ; attempt++) {
    try {
      await continueFile(repository, file, partial, options, report);
      break;
    } catch (error) {
      // A cut connection leaves what came so far; a refusal is final.
      if (error instanceof UserError || options.signal?.aborted || attempt === ATTEMPTS) throw explain(file, error);
    }
  }
  if (!(await matches(partial, file))) {
    await rm(partial, { force: true });
    throw new UserError(
      `${repository}: ${file.path}: its checksum is wrong; what came was thrown away, download again`,
    );
  }
  await rename(partial, target);
}

function explain(file: RemoteFile, error: unknown): unknown {
  if (error instanceof UserError || (error as Error).name === "AbortError") return error;
  const { code, message, cause } = error as NodeJS.ErrnoException;
  if (code === "ENOSPC") return new UserError(`${file.path}: the disk is full; free some space and download again`);
  const detail = (cause as Error | undefined)?.message ?? message;
  return new UserError(`${file.path}: the connection broke (${detail}); download again to continue`, { cause: error });
}

async function continueFile(
  repository: string,
  file: RemoteFile,
  partial: string,
  options: DownloadOptions,
  report: (done: number) => void,
): Promise<void> {
  let done = await sizeOf(partial);
  const handle = await open(partial, "a");
  try {
    report(done);
    if (done === file.size) return;
    const name = file.path.split("/").map(encodeURIComponent).join("/");
    const url = `${endpointOf(options)}/${repository}/resolve/${encodeURIComponent(options.revision ?? "main")}/${name}`;
    const headers: Record<string, string> = done > 0 ? { range: `bytes=${done}-` } : {};
    const response = await request(url, repository, options, headers);
    if (done > 0 && response.status !== 206) {
      await handle.truncate(0);
      done = 0;
    }
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      if (done + chunk.length > file.size) throw new UserError(`${file.path}: more bytes came than the hub promised`);
      await handle.write(chunk);
      done += chunk.length;
      report(done);
    }
    if (done < file.size) throw new Error(`it ended after ${done} of ${file.size} bytes`);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function matches(path: string, file: RemoteFile): Promise<boolean> {
  if (!file.sha256 && !file.oid) return (await sizeOf(path)) === file.size;
  const hash = createHash(file.sha256 ? "sha256" : "sha1");
  if (!file.sha256) hash.update(`blob ${file.size}\0`);
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest("hex") === (file.sha256 ?? file.oid);
}

async function sizeOf(path: string): Promise<number> {
  return (await stat(path).catch(() => undefined))?.size ?? 0;
}

async function checkSpace(folder: string, files: readonly RemoteFile[]): Promise<void> {
  const present = await Promise.all(
    files.map(
      async ({ path }) => (await sizeOf(join(folder, path))) || (await sizeOf(join(folder, `${path}.incomplete`))),
    ),
  );
  const needed = files.reduce((sum, file) => sum + file.size, 0) - present.reduce((a, b) => a + b, 0);
  const { bavail, bsize } = await statfs(folder);
  if (needed <= bavail * bsize) return;
  const gb = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`;
  throw new UserError(`${folder}: ${gb(needed)} are needed and ${gb(bavail * bsize)} are free`);
}
