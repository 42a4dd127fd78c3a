import { existsSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../tensor/index.js";
import { option } from "../tensor/option.js";
import { cachedRevisions, findSnapshot, missingFrom } from "./hub/cache.js";
import { type HubName, MAIN, parseHubName } from "./hub/name.js";
import { earlierModels, hubCache, offlineBy, ownModels } from "./hub/settings.js";
import { PACKAGE } from "./package.js";

/**
 * The path that a `base` means: itself when it is there; else a downloaded `owner/name`, `owner/name@revision` or
 * `owner/name/file.gguf`, in LOWRANK_MODELS, the Hugging Face cache or where earlier versions put it; else something this
 * package brings along (`models/tiny`). Throws UserError that says what is missing and how to get it.
 */
export function resolveModel(base: string): string {
  if (existsSync(base)) return base;
  const name = parseHubName(base);
  if (!name) throw new UserError(`base: '${base}' is not a folder or file here`, { code: "not_found" });
  const found = placesOf(name).filter((path) => existsSync(path));
  const whole = found.find((path) => !missingFrom(path));
  if (whole) return whole;
  const bundled = join(PACKAGE, base);
  if (existsSync(bundled)) return bundled;
  throw new UserError(found[0] ? incomplete(base, name, found[0]) : absent(base, name), { code: "not_found" });
}

/** The path of what is only looked at: a downloaded `owner/name` when nothing here has that name, else the path as it is. */
export function resolvePath(path: string): string {
  const name = existsSync(path) ? undefined : parseHubName(path);
  return (name && placesOf(name).find((place) => existsSync(place))) ?? path;
}

/** Where a model of the hub may lie, first the place that downloads go to now. */
function placesOf(name: HubName): string[] {
  const snapshot = findSnapshot(hubCache(), name);
  const folders = [
    ...[ownModels() ?? []].flat().map((models) => plainFolder(models, name)),
    ...(snapshot ? [snapshot] : []),
    ...earlierModels().map((models) => plainFolder(models, name)),
  ];
  return folders.map((folder) => (name.inside ? join(folder, name.inside) : folder));
}

/** A model's folder among plain ones: `owner/name`, or `owner/name@revision` for another revision than main. */
export function plainFolder(models: string, { repository, revision }: HubName): string {
  return join(models, revision === MAIN ? repository : `${repository}@${encodeURIComponent(revision)}`);
}

function incomplete(base: string, name: HubName, path: string): string {
  return `base: '${base}' is incomplete: ${path} is without ${missingFrom(path)}; ${howToGet(name)}`;
}

function absent(base: string, name: HubName): string {
  const cache = hubCache();
  const others = cachedRevisions(cache, name.repository);
  const where = `is not a folder or file here, nor in the Hugging Face cache (${cache})`;
  const has = others.length > 0 ? `, which has of ${name.repository}: ${others.join(", ")}` : "";
  return `base: '${base}' ${where}${has}; ${howToGet(name)}`;
}

function howToGet({ repository, revision, inside }: HubName): string {
  const offline = offlineBy();
  const what = `${repository}${revision === MAIN ? "" : `@${revision}`}${inside ? ` ${option("include", `'${inside}'`)}` : ""}`;
  return offline ? `${offline} is set; without it: lowrank download ${what}` : `run: lowrank download ${what}`;
}

/** A data file: itself when it is there, else the one this package brings along. Reading it says what is wrong otherwise. */
export function resolveData(path: string): string {
  const bundled = join(PACKAGE, path);
  return !existsSync(path) && path.startsWith("models/") && existsSync(bundled) ? bundled : path;
}
