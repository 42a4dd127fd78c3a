import { homedir } from "node:os";
import { inHome } from "../recipes/home.js";
import type { CommandEntry } from "./commands.js";
import type { Options } from "./io.js";
import { usageError } from "./usage.js";

/** What a flag or argument is called that takes a path: `--output <folder>`, `<file-or-name>`. */
const TAKES_PATH = /[<[][^>\]]*(?:folder|file|path|model)/;

/** `~` and `~/x` as a shell expands them, also where it does not: `--output=~/x`, `--adapter name=~/x`. */
export function expandHome(text: string): string {
  const [, name = "", path = ""] = /^((?:[\w.-]+=(?=~))?)(.*)$/s.exec(text) ?? [];
  return name + inHome(homedir())(path);
}

/** The paths among a verb's arguments and options, checked and with the home folder in the place of `~`. Throws a usage error. */
export function withPaths(
  entry: Pick<CommandEntry, "args" | "options">,
  args: readonly string[],
  options: Options,
): { args: string[]; options: Options } {
  const kept: Record<string, Options[string]> = { ...options };
  for (const { flags } of entry.options) {
    const [, flag = ""] = /(--[\w-]+)/.exec(flags) ?? [];
    const key = flag.slice(2).replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
    const value = options[key];
    if (!TAKES_PATH.test(flags)) continue;
    if (typeof value === "string") kept[key] = pathOf(flag, value);
    else if (Array.isArray(value)) kept[key] = value.map((text: string) => pathOf(flag, text));
  }
  const names = (entry.args ?? []).map(([name]) => name);
  const path = (text: string, i: number) => (TAKES_PATH.test(names[i] ?? "") ? pathOf(names[i]!, text) : text);
  return { args: args.map(path), options: kept };
}

function pathOf(flag: string, text: string): string {
  if (text === "") throw usageError(`${flag}: the path is empty`);
  const control = /\p{Cc}/u.exec(text)?.[0];
  if (control !== undefined)
    throw usageError(
      `${flag}: a path cannot hold the control character ${JSON.stringify(control)}, as ${JSON.stringify(text)} does`,
    );
  return expandHome(text).replace(/(?<=[^/])\/+$/, "");
}
