import { UserError } from "../../tensor/index.js";
import { checkedHash } from "./cache.js";
import { type HubAccess, request, type Subject } from "./http.js";

/** One file of a repository, as the hub lists it. */
export interface RemoteFile {
  readonly path: string;
  readonly size: number;
  /** SHA-256 of a large file; of a small one git's blob id, the SHA-1 of `blob <size>\0` and the bytes. Lower-case hex. */
  readonly checksum: string;
}

/** An entry of the hub's tree. */
interface Entry {
  readonly type: string;
  readonly path: string;
  readonly size: number;
  readonly oid?: string;
  readonly lfs?: { readonly oid?: string };
}

/** The commit that a branch, tag or commit is now. */
export async function resolveCommit(subject: Subject, access: HubAccess): Promise<string> {
  const path = `api/models/${subject.repository}/revision/${encodeURIComponent(subject.revision)}`;
  const { sha } = await json<{ sha?: string }>(path, await request(path, subject, access));
  return checkedHash(sha, `${subject.repository}: the commit of '${subject.revision}'`);
}

/** Every file of a commit. Throws UserError when the answer is no list of files. */
export async function listFiles(subject: Subject, commit: string, access: HubAccess): Promise<RemoteFile[]> {
  let url: string | undefined = `api/models/${subject.repository}/tree/${commit}?recursive=true`;
  const files: RemoteFile[] = [];
  while (url) {
    const response: Response = await request(url, subject, access);
    const entries: Entry[] = await json<Entry[]>(url, response);
    if (!Array.isArray(entries))
      throw new UserError(`${response.url}: this is not a hub: it lists no files`, { code: "download_failed" });
    files.push(...entries.filter(({ type }) => type === "file").map((entry) => remoteFile(subject, entry)));
    url = nextPage(response.headers.get("link"), response.url);
  }
  return files;
}

function remoteFile({ repository }: Subject, { path, size, oid, lfs }: Entry): RemoteFile {
  if (typeof path !== "string" || !Number.isSafeInteger(size) || size < 0) {
    throw new UserError(`${repository}: the hub lists a file without a name or size`, { code: "download_failed" });
  }
  return { path, size, checksum: checkedHash(lfs?.oid ?? oid, `${repository}: the checksum of ${path}`) };
}

async function json<T>(url: string, response: Response): Promise<T> {
  try {
    return (await response.json()) as T;
  } catch (error) {
    throw new UserError(`${response.url || url}: this is not a hub: its answer is not JSON`, {
      cause: error,
      code: "download_failed",
    });
  }
}

function nextPage(link: string | null, from: string): string | undefined {
  const next = /<([^>]+)>;\s*rel="next"/.exec(link ?? "")?.[1];
  if (!next) return undefined;
  const url = new URL(next, from);
  // The token goes along, so the next page must be on the same hub.
  return url.origin === new URL(from).origin ? url.href : undefined;
}
