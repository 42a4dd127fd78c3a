import { adapterFolder } from "../../formats/adapter-folder.js";
import { join } from "../../formats/files.js";
import { jsonBytes, readObject } from "../../formats/json.js";
import type { Platform } from "../../platform/platform.js";
import { UserError } from "../../tensor/index.js";
import { option } from "../../tensor/option.js";
import type { OpenModel } from "../../weights/model-folder.js";
import type { BestMetric } from "../best.js";
import { configKeys } from "../config-keys.js";
import type { TrainConfig } from "../config-schema.js";
import { snakeKeys } from "../names.js";
import { mapPaths } from "../schema-parts.js";
import { type GridPoint, pointName } from "./grid.js";

/** Names inside a sweep's folder. */
export const SWEEP = { state: "sweep.json", report: "report.html", best: "best.yaml", suite: "suite.html" } as const;

/** A point that is done: what was tried, and what came out. */
export interface SweepPoint {
  /** Its folder in the sweep's is `point-NUMBER`: a training run's. */
  readonly number: number;
  readonly values: GridPoint["values"];
  readonly adapter: string;
  /** By their names in metrics.jsonl: `loss`, `eval_loss`, `eval_suite/facts`, ... */
  readonly figures: Readonly<Record<string, number>>;
  readonly trainableParameters: number;
  readonly steps: number;
  readonly seconds: number;
}

/** A point as the sweep's file has it: the number is kept for a point that was begun, the rest is there once it is done. */
interface Stored {
  readonly number: number;
  readonly values: GridPoint["values"];
  /** What must be the same for its results to be this sweep's. */
  readonly identity: Readonly<Record<string, unknown>>;
  readonly done?: Omit<SweepPoint, "number" | "values">;
}

/** What a sweep knows of its points, on the disk after each of them. */
export interface SweepState {
  readonly stored: readonly Stored[];
  /** Numbers a point, or finds the number that it has. */
  begin(point: GridPoint, identity: Stored["identity"]): Promise<Stored>;
  finish(number: number, done: NonNullable<Stored["done"]>): Promise<void>;
}

export const folderOfPoint = (output: string, number: number): string => join(output, `point-${number}`);

/** Opens the state of a sweep. Throws UserError where there is one and it is not to be gone on with. */
export async function openState(
  { files }: Platform,
  output: string,
  metric: BestMetric,
  resume: boolean,
): Promise<SweepState> {
  const path = join(output, SWEEP.state);
  const there = (await files.stat(path)) !== undefined;
  if (there && !resume)
    throw new UserError(
      `'${output}' holds an earlier sweep's results; add ${option("resume", true)} to continue it, or choose another folder`,
      { code: "output_taken" },
    );
  const read = there ? ((await readObject(files, path)) as { points?: Stored[] }).points : undefined;
  let stored: readonly Stored[] = Array.isArray(read) ? read : [];
  const write = (next: readonly Stored[]) => {
    stored = next;
    return files.write(path, jsonBytes({ format_version: 1, metric, points: next }));
  };
  return {
    get stored() {
      return stored;
    },
    async begin({ values }, identity) {
      const key = pointName(values);
      const found = stored.find((one) => pointName(one.values) === key);
      if (found) {
        refuseOther(found.identity, identity, output, key);
        return found;
      }
      const number = 1 + Math.max(0, ...stored.map((one) => one.number));
      const begun = { number, values, identity };
      await write([...stored, begun]);
      return begun;
    },
    finish: (number, done) => write(stored.map((one) => (one.number === number ? { ...one, done } : one))),
  };
}

function refuseOther(was: Stored["identity"], is: Stored["identity"], output: string, name: string): void {
  const differences = Object.keys({ ...was, ...is }).flatMap((key) => {
    const [before, now] = [was[key], is[key]].map((value) => JSON.stringify(value));
    return before === now ? [] : [`  ${key}: was ${before}, is ${now}`];
  });
  if (differences.length === 0) return;
  throw new UserError(
    `${output}: its point ${name} belongs to another sweep; choose another folder, or have these as they were:\n${differences.join("\n")}`,
    { code: "output_taken" },
  );
}

/** What decides a point's results: its settings, and the content of every file that they name. */
export async function identityOfPoint(
  config: TrainConfig,
  platform: Platform,
  base: OpenModel,
  suite: string | undefined,
): Promise<Record<string, unknown>> {
  const onDisk = snakeKeys(config) as Record<string, unknown>;
  const settings = configKeys().filter(({ key }) => !WHERE.has(key));
  const entries = settings.map(({ key }) => [key, valueAt(onDisk, key)] as const);
  const paths = settings.flatMap(({ key, isPath }) => (isPath ? pathsOf(valueAt(onDisk, key)) : []));
  const hashes: [string, string][] = [];
  for (const path of new Set([...paths, ...(suite === undefined ? [] : [suite])])) {
    const sha256 = await hashOf(platform, path);
    if (sha256 !== undefined) hashes.push([`sha256 of ${path}`, sha256]);
  }
  return {
    base: await base.hash(),
    ...Object.fromEntries(entries),
    suite: suite ?? null,
    ...Object.fromEntries(hashes),
  };
}

/** Settings that say where a run happens, and change nothing of what comes out of it. */
const WHERE: ReadonlySet<string> = new Set(["base", "output_dir", "device", "threads", "base_cache"]);

const valueAt = (onDisk: Record<string, unknown>, key: string): unknown =>
  key.split(".").reduce<unknown>((at, part) => (at as Record<string, unknown>)[part], onDisk);

function pathsOf(value: unknown): string[] {
  const paths: string[] = [];
  mapPaths(value, (path) => {
    paths.push(path);
    return path;
  });
  return paths;
}

/** The hash of a file, or of an adapter's weights. */
async function hashOf({ files, resolveData }: Platform, path: string): Promise<string | undefined> {
  const at = resolveData(path);
  const stat = await files.stat(at);
  if (stat?.kind === "file") return files.sha256(at);
  if (stat?.kind !== "folder") return undefined;
  const weights = join(await adapterFolder(files, at), "adapter_model.safetensors");
  return (await files.stat(weights)) ? files.sha256(weights) : undefined;
}
