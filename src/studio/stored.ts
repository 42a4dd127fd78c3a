import { baseName, DOWNLOADING, type Files, join } from "../formats/files.js";
import type { TrainConfig } from "../recipes/config-schema.js";
import { OUTPUT } from "../recipes/run-folder.js";
import { UserError } from "../tensor/index.js";
import type { StudioContext } from "./context.js";
import { bytesIn, configIn, findRuns } from "./runs.js";
import { settingsOf } from "./settings.js";

/** Something that is kept beside the runs. */
export interface Stored {
  readonly path: string;
  readonly name: string;
  /** "rows": a file of rows or a suite that was dropped; "model": one that was downloaded into the page's own storage, or a part of one. */
  readonly kind: "rows" | "export" | "model" | "part of a model";
  readonly bytes: number;
  /** When it was changed last, in milliseconds since 1970; null where the system does not say it, as of folders in a browser. */
  readonly updated: number | null;
  /** Names of runs that are not done and cannot go on without it. */
  readonly needed_by: readonly string[];
}

/** Folders below the studio's own for what is no run. */
export const DATA = "data";
export const EXPORTS = "exports";

/** Where each kind is kept, on this host. */
function places({ host }: StudioContext): readonly (readonly [Stored["kind"], string])[] {
  return [
    ["rows", join(host.folder, DATA)],
    ["export", join(host.folder, EXPORTS)],
    ...(host.storage ? [["model", host.storage.models] as const] : []),
  ];
}

/** Everything that is kept beside the runs, by kind and name. */
export async function storedFiles(studio: StudioContext): Promise<Stored[]> {
  const { files } = studio.platform;
  const going = await goingOn(studio);
  const found: Stored[] = [];
  for (const [kind, folder] of places(studio))
    for (const name of await namesIn(files, folder)) {
      const path = join(folder, name);
      const isPart = name.endsWith(DOWNLOADING);
      found.push({
        path,
        name: isPart ? name.slice(0, -DOWNLOADING.length) : name,
        kind: isPart ? "part of a model" : kind,
        bytes: await bytesIn(files, path),
        updated: (await files.stat(path))?.modified ?? null,
        needed_by: going.filter(({ paths }) => paths.some((one) => isIn(one, path))).map((run) => run.name),
      });
    }
  return found;
}

/**
 * Deletes something that is kept beside the runs. Throws UserError for a path that is none of them, and for what a run, an answer or a
 * server uses at this moment.
 */
export async function deleteStored(studio: StudioContext, path: string): Promise<void> {
  const { platform, host, models } = studio;
  const one = (await storedFiles(studio)).find((stored) => stored.path === path);
  if (!one) throw new UserError(`${path}: nothing of this name is kept beside the runs`, { code: "not_found" });
  const training = (await goingOn(studio)).find(({ live, paths }) => live && paths.some((used) => isIn(used, path)));
  if (training)
    throw new UserError(`${path}: the run ${training.name} uses it; stop it first`, { code: "folder_in_use" });
  if (one.kind === "model") await models.free();
  if (models.uses(path) || (await host.isTaken(path.replace(DOWNLOADING, ""))))
    throw new UserError(`${path}: it is in use by an answer, a server or a download; end that first`, {
      code: "folder_in_use",
    });
  await platform.files.remove(path);
}

/** Runs that are not done, whether each is being trained, and every path that its config names. */
async function goingOn({ platform, host, jobs }: StudioContext) {
  const { files } = platform;
  const live = jobs.list().filter(({ state }) => ["starting", "running", "stopping"].includes(state));
  const found = live.map(({ folder, config }) => ({ name: baseName(folder), live: true, paths: pathsIn(config) }));
  for (const folder of await findRuns(files, host.folder)) {
    if (live.some((job) => job.folder === folder) || (await files.stat(join(folder, OUTPUT.manifest)))) continue;
    const config = await configIn(files, folder);
    if (!config) continue;
    found.push({ name: baseName(folder), live: await host.isTaken(folder), paths: pathsIn(config) });
  }
  return found;
}

/** What a config says, the paths of its rows and base among it. */
const pathsIn = (config: TrainConfig): string[] => Object.values(settingsOf(config));

const isIn = (path: string, folder: string): boolean => path === folder || path.startsWith(`${folder}/`);

async function namesIn(files: Files, folder: string): Promise<string[]> {
  if ((await files.stat(folder))?.kind !== "folder") return [];
  return (await files.list(folder)).filter((name) => !name.startsWith("."));
}
