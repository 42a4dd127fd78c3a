import { DOWNLOADING, type Files, folderOf, join } from "../formats/files.js";
import { jsonBytes, parseObject } from "../formats/json.js";
import { UserError } from "../tensor/index.js";
import { createSha256 } from "./sha256.js";

export interface DownloadOptions {
  /** SHA-256 that the file must have, lower-case hex. Default: it is not checked. */
  readonly sha256?: string;
  /** Sent with every request, a token say. Default: none. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Aborting leaves what came so far, for the next download to go on with. */
  readonly signal?: AbortSignal;
  /** Told as bytes arrive; `total` is undefined where the server does not say it. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number | undefined }) => void;
  /** How it is fetched. Default: the page's own `fetch`. */
  readonly fetch?: typeof globalThis.fetch;
}

const SOURCE = "source.json";
const PART_BYTES = 4 * 2 ** 20;

/** What the pieces are pieces of. */
interface Source {
  readonly url: string;
  /** ETag or date of change, by which the server knows whether it is still the same file; empty: it does not say. */
  readonly version: string;
  readonly total: number | undefined;
}

/**
 * Fetches a file into storage. It is kept in pieces of 4 MB until it is whole, and goes on behind the last of them when an earlier
 * download was cut off, the tab closed, and the server has the same file still. The file takes its name when its checksum was right.
 * Throws UserError for an answer that is none, a file that does not fit the storage, a connection that broke and a wrong checksum.
 */
export async function download(files: Files, url: string, path: string, options: DownloadOptions = {}): Promise<void> {
  const folder = path + DOWNLOADING;
  await files.makeFolder(folderOf(path));
  await files.makeFolder(folder);
  const source = await fetchParts(files, url, folder, options);
  const parts = await partsIn(files, folder);
  const had = parts.reduce((sum, { bytes }) => sum + bytes, 0);
  if (source.total !== undefined && had !== source.total) throw broke(url, `${had} of ${source.total} bytes came`);
  const hash = createSha256();
  async function* whole(): AsyncGenerator<Uint8Array> {
    for (const part of parts) {
      const bytes = await files.read(join(folder, part.name));
      hash.update(bytes);
      yield bytes;
    }
    const actual = hash.digest();
    if (options.sha256 === undefined || actual === options.sha256.toLowerCase()) return;
    await files.remove(folder);
    throw new UserError(
      `${url}: its checksum is wrong (${actual}, expected ${options.sha256}); what came was thrown away, download again`,
      { code: "download_failed" },
    );
  }
  await files.write(path, whole());
  await files.remove(folder);
}

/** Fetches what is missing. */
async function fetchParts(files: Files, url: string, folder: string, options: DownloadOptions): Promise<Source> {
  const { fetch = globalThis.fetch, headers = {}, signal, onProgress } = options;
  const before = await sourceOf(files, folder, url);
  let parts = before ? await partsIn(files, folder) : [];
  let done = parts.reduce((sum, { bytes }) => sum + bytes, 0);
  if (before && before.total !== undefined && done === before.total) return before;
  const range: Record<string, string> = done > 0 ? { Range: `bytes=${done}-`, "If-Range": before!.version } : {};
  const response = await fetch(url, { headers: { ...headers, ...range }, ...(signal ? { signal } : {}) }).catch(
    (error: unknown) => {
      throw (error as Error).name === "AbortError" ? error : unanswered(url, error as Error);
    },
  );
  if (!response.ok || !response.body)
    throw new UserError(`${url}: the server answered ${response.status} ${response.statusText}`.trim(), {
      code: "download_failed",
    });
  if (response.status !== 206) {
    for (const { name } of parts) await files.remove(join(folder, name));
    [parts, done] = [[], 0];
  }
  const length = Number(response.headers.get("content-length"));
  const encoded = response.headers.has("content-encoding"); // its length is not that of the file
  const total = length > 0 && !encoded ? done + length : undefined;
  const version = encoded ? "" : (response.headers.get("etag") ?? response.headers.get("last-modified") ?? "");
  const source = { url, version: version.startsWith("W/") ? "" : version, total };
  await refuseWhatDoesNotFit(url, total === undefined ? 0 : total + (total - done));
  await files.write(join(folder, SOURCE), jsonBytes(source));
  await keepParts(files, folder, { body: response.body, from: parts.length }, (bytes) =>
    onProgress?.({ done: (done += bytes), total }),
  ).catch((error: unknown) => {
    throw error instanceof UserError || signal?.aborted ? error : broke(url, (error as Error).message, error);
  });
  return source;
}

/** Writes a body piece by piece; the last one may be short, also where the connection breaks. */
async function keepParts(
  files: Files,
  folder: string,
  { body, from }: { body: ReadableStream<Uint8Array>; from: number },
  came: (bytes: number) => void,
): Promise<void> {
  let number = from;
  let held: Uint8Array[] = [];
  let size = 0;
  const keep = async () => {
    if (size === 0) return;
    const bytes = held;
    [held, size] = [[], 0];
    await files.write(join(folder, partName(number++)), bytes);
  };
  const reader = body.getReader();
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      held.push(next.value);
      size += next.value.length;
      came(next.value.length);
      if (size >= PART_BYTES) await keep();
    }
  } finally {
    await keep();
    await reader.cancel().catch(() => {});
  }
}

const partName = (number: number): string => `${number}`.padStart(6, "0");

async function partsIn(files: Files, folder: string): Promise<{ name: string; bytes: number }[]> {
  const names = (await files.list(folder)).filter((name) => /^\d+$/.test(name));
  return Promise.all(names.map(async (name) => ({ name, bytes: (await files.stat(join(folder, name)))?.size ?? 0 })));
}

/** What the pieces that are there belong to: undefined, and no pieces, where it is another address or cannot be known again. */
async function sourceOf(files: Files, folder: string, url: string): Promise<Source | undefined> {
  const path = join(folder, SOURCE);
  if (await files.stat(path)) {
    const source = parseObject(path, await files.read(path)) as unknown as Source;
    if (source.url === url && source.version) return source;
  }
  for (const { name } of await partsIn(files, folder)) await files.remove(join(folder, name));
  return undefined;
}

async function refuseWhatDoesNotFit(url: string, bytes: number): Promise<void> {
  const { quota, usage } = (await globalThis.navigator?.storage?.estimate()) ?? {};
  if (quota === undefined || usage === undefined || bytes <= quota - usage) return;
  const mb = (count: number) => `${Math.ceil(count / 1e6)} MB`;
  throw new UserError(
    `${url}: ${mb(bytes)} are needed while it is fetched and this site may store ${mb(quota - usage)} more; remove runs or models first`,
    { code: "download_failed" },
  );
}

/** A browser does not tell these causes apart. */
function unanswered(url: string, cause: Error): UserError {
  return new UserError(
    `${url}: no answer came (${cause.message}): the network is away, the address is wrong, or its server lets no page of another site ` +
      "read it (CORS); download again to continue, or download it with the browser itself and drop it here",
    { cause, code: "download_failed" },
  );
}

function broke(url: string, why: string, cause?: unknown): UserError {
  return new UserError(`${url}: the connection broke (${why}); download again to continue`, {
    cause,
    code: "download_failed",
  });
}
