import { UserError } from "../tensor/index.js";
import { type Files, join, UNFINISHED } from "./files.js";
import { jsonBytes } from "./json.js";

/** The file that says a folder is lowrank's own, and what it is for. */
export const MARKER = ".lowrank";

/** What lowrank keeps in folders of its own, in words. */
const KINDS = {
  run: "a training run's folder",
  data: "a server's data folder",
  sweep: "a sweep's folder",
} as const;

export type OwnKind = keyof typeof KINDS;

export interface OwnFolder {
  readonly kind: OwnKind;
  /** What the folder was given as, for messages: `output_dir`, `--data-dir`. */
  readonly what: string;
  /** Names that do not count as somebody's files, such as a lock. Default: none. */
  readonly besides?: RegExp;
  /** Whether a folder without a marker is one that a version before the marker made. Default: never. */
  readonly earlier?: (folder: string) => Promise<boolean>;
}

/** What file managers leave in any folder that was looked at, and a marker whose writing was cut short. */
const NOTHING = new Set([".DS_Store", "Thumbs.db", "desktop.ini", MARKER + UNFINISHED]);

/**
 * Lets a folder pass that is not there, is empty, or is marked as one of this kind. Changes nothing. Throws UserError, naming
 * what the folder holds, for anything else: what others put there is neither overwritten nor removed.
 */
export async function refuseForeignFolder(files: Files, folder: string, own: OwnFolder): Promise<void> {
  const found = await files.stat(folder);
  if (found === undefined) return;
  if (found.kind === "file")
    throw new UserError(`${own.what}: '${folder}' is a file, a folder was expected`, { code: "output_taken" });
  const names = await files.list(folder);
  if (names.includes(MARKER)) return refuseOtherKind(files, folder, own);
  const others = names.filter((name) => !NOTHING.has(name) && !own.besides?.test(name));
  if (others.length === 0 || (await own.earlier?.(folder))) return;
  const more = others.length > 3 ? `, and ${others.length - 3} more` : "";
  throw new UserError(
    `${own.what}: '${folder}' holds what lowrank did not write (${others.slice(0, 3).join(", ")}${more}); ` +
      "choose a new or an empty folder",
    { code: "output_taken" },
  );
}

async function refuseOtherKind(files: Files, folder: string, { kind, what }: OwnFolder): Promise<void> {
  const is = await markedKind(files, folder);
  if (is === kind) return;
  const found = is === undefined ? `its ${MARKER} file cannot be read` : `it is ${KINDS[is]}`;
  throw new UserError(`${what}: '${folder}' is not ${KINDS[kind]}: ${found}; choose another folder`, {
    code: "output_taken",
  });
}

/** What a folder's marker says it is for; undefined when there is none, or none that this version knows. */
export async function markedKind(files: Files, folder: string): Promise<OwnKind | undefined> {
  const path = join(folder, MARKER);
  if ((await files.stat(path))?.kind !== "file") return undefined;
  try {
    const { kind } = JSON.parse(new TextDecoder().decode(await files.read(path, 4096))) as { kind?: unknown };
    return typeof kind === "string" && Object.hasOwn(KINDS, kind) ? (kind as OwnKind) : undefined;
  } catch {
    return undefined;
  }
}

/** Marks a folder, which must be there, as lowrank's own. Call it after `refuseForeignFolder` and before anything is written. */
export async function markFolder(files: Files, folder: string, kind: OwnKind): Promise<void> {
  const path = join(folder, MARKER);
  if ((await files.stat(path)) === undefined) await files.write(path, jsonBytes({ kind, format_version: 1 }));
}

/** Makes a folder lowrank's own: refuses one that is somebody else's, makes it where it is not there, and marks it. */
export async function claimFolder(files: Files, folder: string, own: OwnFolder): Promise<void> {
  await refuseForeignFolder(files, folder, own);
  await files.makeFolder(folder);
  await markFolder(files, folder, own.kind);
}
