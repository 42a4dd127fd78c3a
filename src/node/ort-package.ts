import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { UserError } from "../tensor/index.js";
import { cacheHome } from "./hub/settings.js";
import { PACKAGE, packageRequire } from "./package.js";

const NAME = "onnxruntime-node";

/**
 * The folder of onnxruntime-node: the installed one, else the one that `ensureOrt` fetched. npm before version 12 leaves the
 * package out where its install script fails, which wants CUDA from outside the registry. Undefined: neither is there.
 */
export function ortFolder(): string | undefined {
  try {
    return dirname(packageRequire.resolve(`${NAME}/package.json`));
  } catch {
    return [join(fetchedFolder(), "node_modules", NAME)].find((folder) => existsSync(join(folder, "package.json")));
  }
}

/** onnxruntime-node's functions. Throws UserError as `ensureOrt` does. */
export async function importOrt(): Promise<typeof import("onnxruntime-node")> {
  const entry = createRequire(join(await ensureOrt(), "package.json")).resolve(".");
  const ort = (await import(pathToFileURL(entry).href)) as typeof import("onnxruntime-node") & { default?: object };
  return (ort.default ?? ort) as typeof import("onnxruntime-node");
}

let fetching: Promise<string> | undefined;

/**
 * `ortFolder`, after fetching the package with npm, without its install script, where it is missing. Throws UserError that says
 * what to do when that fails.
 */
export async function ensureOrt(): Promise<string> {
  const folder = ortFolder();
  if (folder) return folder;
  fetching ??= fetchOrt().finally(() => {
    fetching = undefined;
  });
  return fetching;
}

/** One folder for each version, outside any project: what npm installs there, no project's lockfile has to know. */
const fetchedFolder = (): string => join(cacheHome(), "lowrank", "engine", `${NAME}-${wanted()}`);

/** The lowest version that this package's own package.json asks for: the one it was tested with. */
function wanted(): string {
  const text = readFileSync(join(PACKAGE, "package.json"), "utf8");
  const { optionalDependencies } = JSON.parse(text) as { optionalDependencies: Record<string, string> };
  return optionalDependencies[NAME]!.replace(/^\D*/, "");
}

async function fetchOrt(): Promise<string> {
  const target = fetchedFolder();
  const spec = `${NAME}@${wanted()}`;
  process.stderr.write(
    `lowrank: ${spec} is not installed (npm leaves it out when its install script fails); fetching it ...\n`,
  );
  await mkdir(dirname(target), { recursive: true });
  const partial = await mkdtemp(`${target}.partial-`);
  try {
    await writeFile(join(partial, "package.json"), '{"private": true}');
    await npmInstall(partial, spec);
    await rename(partial, target).catch((error: Error) => {
      // Another process was faster.
      if (!existsSync(join(target, "package.json"))) throw error;
    });
  } catch (error) {
    throw new UserError(
      `${spec} is not installed and could not be fetched (${(error as Error).message}); ` +
        "install this package again with 'npm install --ignore-scripts', or with ONNXRUNTIME_NODE_INSTALL=skip set",
      { cause: error },
    );
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
  return join(target, "node_modules", NAME);
}

function npmInstall(folder: string, spec: string): Promise<void> {
  const quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"];
  const child = spawn("npm", ["install", spec, ...quiet], {
    cwd: folder,
    stdio: ["ignore", "ignore", "pipe"],
    shell: process.platform === "win32",
    env: { ...process.env, npm_config_local_prefix: undefined, npm_config_prefix: undefined },
  });
  let said = "";
  child.stderr.on("data", (text) => (said += text));
  return new Promise((resolve, reject) => {
    child.on("error", (error) => reject(new Error(`npm cannot be started: ${error.message}`)));
    child.on("close", (code) => (code === 0 ? resolve() : reject(new Error(`npm: ${said.trim().split("\n")[0]}`))));
  });
}
