import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import process from "node:process";
import { UserError } from "../../tensor/index.js";

// What the environment says about a Hugging Face hub, in the variables and with the precedence of huggingface_hub's constants.py.

/** A variable that is set and not empty. */
const read = (name: string): string | undefined => process.env[name]?.trim() || undefined;

/** A path with `~`, `$NAME` and `${NAME}` in it, as a shell would write it out. */
function expand(path: string): string {
  const named = path.replace(/\$(?:\{(\w+)\}|(\w+))/g, (whole, a, b) => process.env[a ?? b] ?? whole);
  return resolve(named.replace(/^~(?=$|[/\\])/, homedir()));
}

/** Where programs of one user keep what can be fetched again: XDG_CACHE_HOME, else Windows' LOCALAPPDATA, else ~/.cache. */
export function cacheHome(): string {
  const windows = process.platform === "win32" ? read("LOCALAPPDATA") : undefined;
  return expand(read("XDG_CACHE_HOME") ?? windows ?? join(homedir(), ".cache"));
}

/** HF_HOME, else XDG_CACHE_HOME/huggingface, else ~/.cache/huggingface (on Windows too). */
function hubHome(): string {
  return expand(read("HF_HOME") ?? join(read("XDG_CACHE_HOME") ?? join(homedir(), ".cache"), "huggingface"));
}

/** The folder of models that huggingface_hub and all that builds on it share: HF_HUB_CACHE, else HF_HOME/hub. */
export function hubCache(): string {
  return expand(read("HF_HUB_CACHE") ?? read("HUGGINGFACE_HUB_CACHE") ?? join(hubHome(), "hub"));
}

/** LOWRANK_MODELS: a folder of plain `owner/name` folders, which then takes downloads instead of the shared cache. */
export function ownModels(): string | undefined {
  const folder = read("LOWRANK_MODELS");
  return folder && expand(folder);
}

/** Where earlier versions put downloads: plain `owner/name` folders. */
export function earlierModels(): string[] {
  const homes = new Set([cacheHome(), join(homedir(), ".cache")]);
  return [...homes].map((home) => join(home, "lowrank", "models"));
}

/** HF_ENDPOINT, without slashes at its end. Default: https://huggingface.co. */
export function hubEndpoint(given?: string): string {
  const endpoint = (given ?? read("HF_ENDPOINT") ?? "https://huggingface.co").replace(/\/+$/, "");
  if (/^https?:$/.test(URL.canParse(endpoint) ? new URL(endpoint).protocol : "")) return endpoint;
  throw new UserError(`HF_ENDPOINT: '${endpoint}' is not an address; expected one such as https://huggingface.co`);
}

/** The variable that forbids requests to the hub (HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE), when one does. */
export function offlineBy(): string | undefined {
  const name = read("HF_HUB_OFFLINE") ? "HF_HUB_OFFLINE" : "TRANSFORMERS_OFFLINE";
  return isTrue(name) ? name : undefined;
}

/** Whether files are copied where links would be made: HF_HUB_DISABLE_SYMLINKS. */
export const withoutLinks = (): boolean => isTrue("HF_HUB_DISABLE_SYMLINKS");

const isTrue = (name: string): boolean => ["1", "ON", "YES", "TRUE"].includes(read(name)?.toUpperCase() ?? "");

/** A token, and where it was found: for messages, which never show the token itself. */
export interface Token {
  readonly value: string;
  readonly from: string;
}

/**
 * The token to show to the hub: the one given ("" for none), else HF_TOKEN, else the file that `hf auth login` leaves
 * (HF_TOKEN_PATH, else HF_HOME/token) unless HF_HUB_DISABLE_IMPLICIT_TOKEN is set. Throws UserError for what is no token.
 */
export function hubToken(given?: string): Token | undefined {
  if (given !== undefined) return clean(given, "the token given");
  if (isTrue("HF_HUB_DISABLE_IMPLICIT_TOKEN")) return undefined;
  for (const name of ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]) {
    const token = clean(process.env[name] ?? "", name);
    if (token) return token;
  }
  const path = expand(read("HF_TOKEN_PATH") ?? join(hubHome(), "token"));
  return clean(readToken(path), path);
}

function readToken(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return "";
    throw new UserError(`${path}: the hub's token cannot be read: ${message}`, { cause: error });
  }
}

function clean(text: string, from: string): Token | undefined {
  const value = text.replace(/[\r\n]/g, "").trim();
  if (value === "") return undefined;
  if (/^[\x21-\x7e]+$/.test(value)) return { value, from };
  throw new UserError(
    `${from}: this is no token of the hub: it has a space or a character in it that no header can carry`,
  );
}
