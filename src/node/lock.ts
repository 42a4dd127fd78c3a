import { readFileSync } from "node:fs";
import { link, mkdir, readFile, rename, rm, rmdir, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname, join, resolve } from "node:path";
import { setTimeout } from "node:timers/promises";
import { UserError } from "../tensor/index.js";

/** Who has a folder. `began` tells a process from a later one of the same number, where the system says it. */
interface Owner {
  readonly pid: number;
  readonly host: string;
  readonly began?: string;
}

const NAME = ".lock";
const POLL_MS = 200;

/** How a lock of ours begins, also one that was cut off. */
const BEGINNING = '{"pid":';

/**
 * Takes a folder for this process by a file in it that is made exclusively, making the folder first where it is not there;
 * the result gives it back, and removes a folder that was made and is still empty. A lock whose process is gone (killed,
 * machine restarted) is taken over. Throws UserError when a live process has it, or somebody else's program put the file there.
 */
export async function lockFolder(folder: string): Promise<() => Promise<void>> {
  const taken = await tryLock(folder);
  if (typeof taken === "function") return taken;
  throw inUse(folder, taken);
}

/** As `lockFolder`, but waits for whoever has the folder. Throws the signal's reason when it is aborted meanwhile. */
export async function waitForFolder(folder: string, signal?: AbortSignal): Promise<() => Promise<void>> {
  for (;;) {
    const taken = await tryLock(folder);
    if (typeof taken === "function") return taken;
    await setTimeout(POLL_MS, undefined, { signal });
  }
}

/** Whether a process that is alive has a folder. */
export async function isFolderTaken(folder: string): Promise<boolean> {
  const owner = parseOwner(await readFile(join(folder, NAME), "utf8").catch(() => ""));
  return owner !== undefined && isAlive(owner);
}

/** The function that gives the folder back, or who has it. */
async function tryLock(folder: string): Promise<(() => Promise<void>) | Owner> {
  const path = join(folder, NAME);
  const mine = JSON.stringify({ pid: process.pid, host: hostname(), began: beganAt(process.pid) } satisfies Owner);
  for (let attempt = 0; attempt < 5; attempt++) {
    const made = await mkdir(folder, { recursive: true }).catch((error: Error) => {
      throw new UserError(`${folder}: cannot be made: ${error.message}`, { cause: error });
    });
    try {
      await create(path, mine);
      return async () => {
        if ((await readFile(path, "utf8").catch(() => "")) === mine) await rm(path, { force: true });
        if (made) await removeEmpty(folder, made);
      };
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === "ENOENT") continue; // another run gave its new folder back at this very moment
      if (code !== "EEXIST") throw new UserError(`${folder}: cannot be written to: ${message}`, { cause: error });
    }
    const text = await readFile(path, "utf8").catch(() => "");
    const owner = parseOwner(text);
    if (owner && isAlive(owner)) return owner;
    if (!owner && !BEGINNING.startsWith(text.slice(0, BEGINNING.length)))
      throw new UserError(`${path}: this lock is not lowrank's; choose another folder`, { code: "folder_in_use" });
    await takeAway(path, text);
  }
  throw new UserError(`${folder}: another run is starting in this folder`, { code: "folder_in_use" });
}

/** Removes the folders from `folder` up to `first` as long as they are empty. */
async function removeEmpty(folder: string, first: string): Promise<void> {
  try {
    for (let path = resolve(folder); path.startsWith(resolve(first)); path = dirname(path)) await rmdir(path);
  } catch {
    // It holds something, or is gone already.
  }
}

/** Makes a file that must not be there yet, with its content in it from the first moment (a link, where there are links). */
async function create(path: string, content: string): Promise<void> {
  const whole = `${path}.${process.pid}.${performance.now()}`;
  await writeFile(whole, content, { flag: "wx" });
  try {
    await link(whole, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") throw error;
    await writeFile(path, content, { flag: "wx" });
  } finally {
    await rm(whole, { force: true });
  }
}

function inUse(folder: string, { pid, host }: Owner): UserError {
  const where = host === hostname() ? "" : ` on ${host} (if it is gone, delete ${join(folder, NAME)})`;
  return new UserError(
    `${folder}: another run is using this folder: process ${pid}${where}; choose another output_dir`,
    { code: "folder_in_use" },
  );
}

function parseOwner(text: string): Owner | undefined {
  try {
    const owner = JSON.parse(text) as Owner;
    return typeof owner.pid === "number" && typeof owner.host === "string" ? owner : undefined;
  } catch {
    return undefined;
  }
}

function isAlive({ pid, host, began }: Owner): boolean {
  if (host !== hostname()) return true;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EPERM") return false;
  }
  return began === undefined || began === beganAt(pid);
}

/** When a process began, in the system's own unit; undefined where it does not say (not on Linux). */
function beganAt(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return undefined;
  }
}

/** Removes a stale lock, but only the one that was looked at: another start may have put its own there meanwhile. */
async function takeAway(path: string, stale: string): Promise<void> {
  const aside = `${path}.${process.pid}`;
  try {
    await rename(path, aside);
  } catch {
    return;
  }
  const taken = await readFile(aside, "utf8").catch(() => stale);
  if (taken !== stale) await writeFile(path, taken, { flag: "wx" }).catch(() => undefined);
  await rm(aside, { force: true });
}
