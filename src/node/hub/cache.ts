import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { copyFile, link, mkdir, readlink, rename, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { UserError } from "../../tensor/index.js";
import type { HubName } from "./name.js";
import { withoutLinks } from "./settings.js";

// The folder that huggingface_hub keeps models in:
//   models--owner--name/blobs/<checksum>             a file's bytes, each once; <checksum>.incomplete while they come
//   models--owner--name/snapshots/<commit>/<file>    a relative link to a blob
//   models--owner--name/refs/<branch or tag>         the commit that it was when it was last asked for
//   .locks/models--owner--name/                      who is writing

/** A repository's folder in a cache. */
export const repositoryFolder = (cache: string, repository: string): string =>
  join(cache, `models--${repository.replace("/", "--")}`);

/** Where those who write a repository take turns. */
export const lockFolderOf = (cache: string, repository: string): string =>
  join(cache, ".locks", `models--${repository.replace("/", "--")}`);

/** The folder of one revision; undefined when the cache does not have it. */
export function findSnapshot(cache: string, { repository, revision }: HubName): string | undefined {
  const folder = repositoryFolder(cache, repository);
  const commits = [readRef(join(folder, "refs", revision)), revision];
  return commits
    .filter((commit) => commit !== undefined && /^\w[\w.-]*$/.test(commit))
    .map((commit) => join(folder, "snapshots", commit!))
    .find((path) => existsSync(path));
}

/** The revisions that a cache has of a repository, by the names of their branches and tags, for messages. */
export function cachedRevisions(cache: string, repository: string): string[] {
  const folder = repositoryFolder(cache, repository);
  const refs = listed(join(folder, "refs")).filter((name) => findSnapshot(cache, { repository, revision: name }));
  const named = new Set(refs.map((name) => readRef(join(folder, "refs", name))));
  return [...refs, ...listed(join(folder, "snapshots")).filter((commit) => !named.has(commit))];
}

function listed(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}

function readRef(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return undefined;
  }
}

/** What keeps a folder of a model from being used, as a cut download or one of its config alone leaves it; undefined: nothing. */
export function missingFrom(folder: string): string | undefined {
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return undefined;
  const names = listed(folder);
  const gone = names.filter((name) => !existsSync(join(folder, name)));
  if (gone.length > 0) return gone.join(", ");
  const shards = names
    .filter((name) => name.endsWith(".safetensors.index.json"))
    .flatMap((n) => shardsOf(join(folder, n)));
  const absent = [...new Set(shards)].filter((name) => !existsSync(join(folder, name)));
  if (absent.length > 0) return absent.sort().join(", ");
  if (!names.some((name) => /\.(safetensors|gguf|bin|pt)$/.test(name))) return "its weights";
  const configs = ["config.json", "adapter_config.json"];
  return names.some((name) => configs.includes(name) || name.endsWith(".gguf")) ? undefined : configs[0];
}

/** The files an index names; none where it cannot be read: whoever opens the model says why. */
function shardsOf(index: string): string[] {
  try {
    const { weight_map } = JSON.parse(readFileSync(index, "utf8")) as { weight_map: Record<string, string> };
    return Object.values(weight_map).filter((name) => typeof name === "string");
  } catch {
    return [];
  }
}

/**
 * Puts a file at `path` that is the blob: a relative link, so that a cache can be moved; where the system makes none (Windows
 * without developer mode), the same bytes under a second name, or a copy.
 */
export async function linkBlob(blob: string, path: string): Promise<void> {
  const target = relative(dirname(path), blob);
  if ((await readlink(path).catch(() => undefined)) === target) return;
  await mkdir(dirname(path), { recursive: true });
  const partial = `${path}.${process.pid}.partial`;
  await rm(partial, { force: true });
  const ways = [() => symlink(target, partial), () => link(blob, partial), () => copyFile(blob, partial)];
  await firstThatWorks(withoutLinks() ? ways.slice(-1) : ways);
  await rename(partial, path);
}

async function firstThatWorks([way, ...others]: readonly (() => Promise<void>)[]): Promise<void> {
  try {
    await way!();
  } catch (error) {
    if (others.length === 0) throw error;
    await firstThatWorks(others);
  }
}

/** Notes which commit a branch or tag is; a commit has no name of its own to be noted. */
export async function writeRef(folder: string, revision: string, commit: string): Promise<void> {
  const path = join(folder, "refs", revision);
  if (revision === commit || readRef(path) === commit) return;
  await mkdir(dirname(path), { recursive: true });
  const partial = `${path}.${process.pid}.partial`;
  await writeFile(partial, commit);
  await rename(partial, path);
}

/** A checksum becomes a file's name, and so does a commit: nothing else may. */
export function checkedHash(text: string | undefined, what: string): string {
  if (text !== undefined && /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(text)) return text;
  throw new UserError(
    `${what}: expected 40 or 64 hexadecimal digits from the hub, got ${JSON.stringify(text) ?? "nothing"}`,
  );
}
