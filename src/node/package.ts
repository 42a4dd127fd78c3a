import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";

/** This file; in a program that was bundled as CommonJS, where there is no such thing, the program. */
const HERE = import.meta.url ?? pathToFileURL(process.argv[1] ?? join(process.cwd(), "program")).href;

/**
 * The folder of this package: two above this file, in sources and build alike; for a program that was bundled into one file,
 * the package installed where the program lies, whose threads and models it still needs.
 */
export const PACKAGE: string = findPackage();

/** A compiled file of `dist/node`; when the sources run as they are (in tests), the one of the last build. */
export const workerFile = (name: string): URL => pathToFileURL(join(PACKAGE, "dist", "node", name));

/** Finds what this package depends on, from wherever the program lies. */
export const packageRequire: NodeJS.Require = createRequire(join(PACKAGE, "package.json"));

/** The version of the package that a folder is. */
export const versionIn = (folder: string): string => readPackage(folder).version;

function readPackage(folder: string): { readonly name: string; readonly version: string } {
  return JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
}

function findPackage(): string {
  const above = join(dirname(fileURLToPath(HERE)), "..", "..");
  if (isThisPackage(above)) return above;
  try {
    return dirname(createRequire(HERE).resolve("lowrank/package.json"));
  } catch {
    return above;
  }
}

function isThisPackage(folder: string): boolean {
  try {
    return readPackage(folder).name === "lowrank";
  } catch {
    return false;
  }
}
