import { appendFile, chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";

/** Lines that a history keeps. */
const KEPT = 1000;

/** What was typed into earlier chats. */
export interface History {
  /** The newest first, as readline takes them. */
  readonly lines: string[];
  add(line: string): Promise<void>;
}

/**
 * Opens the history of chats, a file that only its owner reads. `LOWRANK_HISTORY` names another; empty: none is kept. Where it
 * cannot be read or written, there is none.
 */
export async function openHistory(path: string | undefined = historyFile()): Promise<History> {
  if (path === undefined) return { lines: [], add: async () => undefined };
  const text = await readFile(path, "utf8").catch(() => "");
  const lines = text.split("\n").filter(Boolean);
  const kept = lines.slice(-KEPT);
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    if (lines.length > 2 * KEPT) await writeFile(path, kept.map((line) => `${line}\n`).join(""), { mode: 0o600 });
    else await appendFile(path, "", { mode: 0o600 });
    await chmod(path, 0o600);
  } catch {
    // It is not kept, then.
  }
  return {
    lines: kept.reverse(),
    add: (line) => appendFile(path, `${line}\n`, { mode: 0o600 }).catch(() => undefined),
  };
}

/** `$LOWRANK_HISTORY`, else `chat_history` in the folder that the system has for such things. */
function historyFile(): string | undefined {
  const { LOWRANK_HISTORY: named, XDG_STATE_HOME: state, LOCALAPPDATA: local } = process.env;
  if (named !== undefined) return named || undefined;
  const folder =
    process.platform === "win32" && local ? local : state?.startsWith("/") ? state : join(homedir(), ".local", "state");
  return join(folder, "lowrank", "chat_history");
}
