import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const ROOT = "/sys/fs/cgroup/memory";

/** Control groups of version 1 (none of version 2 had memory to give where this was written), one for each rank: the kernel kills the processes of a group that take more than its limit. */
export interface MemoryGroups {
  /**
   * Words that start a program in its rank's group, as if that were a machine of its own; without a launcher in the first. Where it
   * is `unseen`, the program finds no control groups and thinks that the machine's memory is its own.
   */
  inside(command: readonly string[], unseen?: "unseen"): string[];
  /** Gives each so many bytes from now on. */
  limit(bytes: number): void;
  /** Processes of each group that were killed for their memory. */
  killed(): number[];
  /** The most bytes that each group has had. */
  peaks(): number[];
  remove(): void;
}

/** Makes groups without a limit; undefined, with a word on the terminal, where the system does not let this process. */
export function memoryGroups(count: number): MemoryGroups | undefined {
  const prefix = join(ROOT, `lowrank-test-${process.pid}-`);
  const paths = Array.from({ length: count }, (_, i) => `${prefix}${i}`);
  const remove = () => {
    for (const path of paths.filter(existsSync)) rmdirSync(path);
  };
  try {
    for (const path of paths) {
      mkdirSync(path);
      writeFileSync(join(path, "memory.swappiness"), "0");
    }
  } catch (error) {
    console.warn(`skipped: no memory groups can be made under ${ROOT}: ${(error as Error).message}`);
    return undefined;
  }
  const enter = `echo $$ > "${prefix}\${OMPI_COMM_WORLD_RANK:-0}/cgroup.procs" || exit 99
    [ -z "$OMPI_COMM_WORLD_RANK" ] || export OMPI_COMM_WORLD_LOCAL_SIZE=1
    exec "$@"`;
  const hide = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"', "sh"];
  const numbers = (name: string, pattern: RegExp) =>
    paths.map((path) => Number(pattern.exec(readFileSync(join(path, name), "utf8"))![1]));
  return {
    inside: (command, unseen) => ["sh", "-c", enter, "sh", ...(unseen ? hide : []), ...command],
    limit: (bytes) => {
      for (const path of paths) writeFileSync(join(path, "memory.limit_in_bytes"), String(bytes));
    },
    peaks: () => numbers("memory.max_usage_in_bytes", /(\d+)/),
    killed: () => numbers("memory.oom_control", /oom_kill (\d+)/),
    remove,
  };
}
