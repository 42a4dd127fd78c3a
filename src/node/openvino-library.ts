import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { packageRequire } from "./package.js";

/**
 * Finds OpenVINO's C library: where OPENVINO_LIB points (the file or its folder; nothing else is tried then), in Python's
 * package `openvino` (an active environment's, then `python3`'s), in conda's or Homebrew's libraries, in
 * openvino-node's runtime. Undefined when it is nowhere.
 */
export function findOpenvino(env: NodeJS.ProcessEnv = process.env): string | undefined {
  const given = env.OPENVINO_LIB;
  if (given) return isFile(given) ? given : libraryIn(given);
  for (const folders of [inEnvironments, inSystem, inNodeModules, inPython]) {
    for (const folder of folders(env)) {
      const found = libraryIn(folder);
      if (found) return found;
    }
  }
  return undefined;
}

/** The C library in a folder: the plain name or, as in Python's package, one with a version behind it. */
function libraryIn(folder: string): string | undefined {
  const name = list(folder)
    .filter((file) => /^(libopenvino_c\.so(\.\d+)*|libopenvino_c(\.\d+)*\.dylib|openvino_c\.dll)$/.test(file))
    .sort()[0];
  return name && join(folder, name);
}

function inEnvironments(env: NodeJS.ProcessEnv): string[] {
  const roots = [env.VIRTUAL_ENV, env.CONDA_PREFIX].filter((root) => root !== undefined);
  return roots.flatMap((root) => [
    ...list(join(root, "lib"))
      .filter((name) => name.startsWith("python"))
      .map((name) => join(root, "lib", name, "site-packages", "openvino", "libs")),
    join(root, "Lib", "site-packages", "openvino", "libs"),
    join(root, "lib"),
    join(root, "Library", "bin"),
  ]);
}

function inSystem(env: NodeJS.ProcessEnv): string[] {
  const roots = [env.INTEL_OPENVINO_DIR && join(env.INTEL_OPENVINO_DIR, "runtime"), env.HOMEBREW_PREFIX];
  const known = [...roots.filter((root) => root), "/opt/homebrew", "/usr/local", "/home/linuxbrew/.linuxbrew", "/usr"];
  return known.flatMap((root) => [
    join(root!, "lib"),
    join(root!, "lib", "intel64"),
    join(root!, "bin", "intel64", "Release"),
  ]);
}

function inNodeModules(): string[] {
  try {
    return [join(dirname(packageRequire.resolve("openvino-node/package.json")), "bin")];
  } catch {
    return [];
  }
}

/** Asks Python where its package is, without importing it. */
function inPython(): string[] {
  const code = "import importlib.util as u; print(u.find_spec('openvino').submodule_search_locations[0])";
  const command = process.platform === "win32" ? "python" : "python3";
  const { status, stdout } = spawnSync(command, ["-c", code], { cwd: homedir(), encoding: "utf8", timeout: 10_000 });
  return status === 0 ? [join(stdout.trim(), "libs")] : [];
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

const isFile = (path: string): boolean => existsSync(path) && statSync(path).isFile();
