import { readFileSync } from "node:fs";
import os from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";

/** Where Linux mounts control groups, and the file of each version with the bytes that a group's processes may have. */
const VERSIONS = {
  memory: { root: "/sys/fs/cgroup/memory", file: "memory.limit_in_bytes" },
  "": { root: "/sys/fs/cgroup", file: "memory.max" },
} as const;

/**
 * Bytes that this process may have: the machine's, or the least that its control groups leave it, the groups that they lie in
 * included (the system's own figure, `process.constrainedMemory`, knows the innermost alone, and Slurm and Kubernetes limit one further out).
 */
export function memoryLimit(): number {
  const known = process.constrainedMemory?.() ?? 0;
  return Math.min(os.totalmem(), known > 0 ? known : Number.POSITIVE_INFINITY, groupLimit(textOf));
}

/**
 * The least limit, in bytes, of the memory groups that a process is in (cgroups(7), versions 1 and 2); Infinity where there is
 * none. `read` gives a file's text, or undefined where there is no such file.
 */
export function groupLimit(read: (path: string) => string | undefined): number {
  const groups = (read("/proc/self/cgroup") ?? "").split("\n").flatMap((line) => {
    const [, kinds, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    const version = kinds?.split(",").find((kind) => Object.hasOwn(VERSIONS, kind)) as
      | keyof typeof VERSIONS
      | undefined;
    return version === undefined ? [] : [{ ...VERSIONS[version], path: path! }];
  });
  const limits = groups.flatMap(({ root, file, path }) =>
    withParents(path).map((group) => Number.parseInt(read(join(root, group, file)) ?? "", 10)),
  );
  return limits.reduce((least, limit) => (limit > 0 ? Math.min(least, limit) : least), Number.POSITIVE_INFINITY);
}

/** A group and all that it lies in: /a/b, /a, /. In a container the path may be the host's; the last is then its own. */
function withParents(path: string): string[] {
  const parent = dirname(path);
  return parent === path || !path.startsWith("/") ? [path] : [path, ...withParents(parent)];
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
