import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { UserError } from "../tensor/index.js";

const PACKAGE = fileURLToPath(new URL("../../", import.meta.url));

/** `owner/name` as the hub writes it; each part starts with a letter or digit, so it cannot leave a folder. */
export const HUB_NAME = /^[A-Za-z0-9][\w.-]{0,95}\/[A-Za-z0-9][\w.-]{0,95}$/;

/** Where downloaded models are kept: LOWRANK_MODELS, else ~/.cache/lowrank/models. */
export function modelCache(): string {
  return process.env.LOWRANK_MODELS || join(homedir(), ".cache", "lowrank", "models");
}

/**
 * The path that a `base` means: itself when it is there, else a downloaded `owner/name`, else something this package brings
 * along (`models/tiny`). Throws UserError that says how to get it.
 */
export function resolveModel(base: string): string {
  const cached = join(modelCache(), base);
  const choices = HUB_NAME.test(base) ? [base, cached, join(PACKAGE, base)] : [base];
  const found = choices.find((path) => existsSync(path));
  if (found) return found;
  const hint = HUB_NAME.test(base) ? `, and was not downloaded; run: lowrank download ${base}` : "";
  throw new UserError(`base: '${base}' is not a folder or file here${hint}`);
}

/** A data file: itself when it is there, else the one this package brings along. Reading it says what is wrong otherwise. */
export function resolveData(path: string): string {
  const bundled = join(PACKAGE, path);
  return !existsSync(path) && path.startsWith("models/") && existsSync(bundled) ? bundled : path;
}
