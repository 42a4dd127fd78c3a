import { baseName, type Files } from "./files.js";

/** Which model an adapter was trained on. */
export interface AdapterBase {
  /** PEFT's `base_model_name_or_path`. */
  readonly name?: string;
  /** `OpenModel.hash()` of the base; adapters from elsewhere do not have it. */
  readonly sha256?: string;
  /** How the base's linear layers were stored ("f32", "bf16", "q4_1", ...). */
  readonly stored?: string;
  /** It is the text part of a model that also sees: PEFT's names then go through `language_model`. */
  readonly inWhole?: boolean;
}

/** SHA-256 (hex) of a model: one file's is that of its bytes, whatever it is called; several files' is over their hashes and names. */
export async function hashModel(files: Files, paths: readonly string[]): Promise<string> {
  if (paths.length === 1) return files.sha256(paths[0]!);
  const lines: string[] = [];
  for (const path of paths) lines.push(line(await files.sha256(path), path));
  return hashText(lines.join(""));
}

/** What stood for a model of one file in adapters and runs that were made when its name counted too. */
export function formerHash(hash: string, path: string): Promise<string> {
  return hashText(line(hash, path));
}

/** Whether two hashes stand for one model, as they are written now or were; false where one is missing. */
export async function sameBase(a: AdapterBase, b: AdapterBase): Promise<boolean> {
  if (a.sha256 === undefined || b.sha256 === undefined) return false;
  if (a.sha256 === b.sha256) return true;
  for (const { name } of [a, b]) {
    if (name === undefined) continue;
    if ((await formerHash(a.sha256, name)) === b.sha256 || (await formerHash(b.sha256, name)) === a.sha256) return true;
  }
  return false;
}

const line = (hash: string, path: string): string => `${hash}  ${baseName(path)}\n`;

async function hashText(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
