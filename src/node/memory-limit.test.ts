import { expect, it } from "vitest";
import { groupLimit } from "./memory-limit.js";

const reader = (files: Readonly<Record<string, string>>) => (path: string) => files[path];

it("a process has what the strictest of its memory groups leaves it, of either version, the outer ones included", () => {
  const first = {
    "/proc/self/cgroup": "5:cpu,cpuacct:/job\n4:memory:/slurm/job_7/step_0\n0::/\n",
    "/sys/fs/cgroup/memory/slurm/job_7/step_0/memory.limit_in_bytes": "9223372036854771712\n",
    "/sys/fs/cgroup/memory/slurm/job_7/memory.limit_in_bytes": "2000000000\n",
    "/sys/fs/cgroup/memory/slurm/memory.limit_in_bytes": "3000000000\n",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
  };
  expect(groupLimit(reader(first))).toBe(2e9);
  const second = {
    "/proc/self/cgroup": "0::/pod/container\n",
    "/sys/fs/cgroup/pod/container/memory.max": "max\n",
    "/sys/fs/cgroup/pod/memory.max": "1000000000\n",
  };
  expect(groupLimit(reader(second))).toBe(1e9);
  expect(groupLimit(reader({ ...second, "/sys/fs/cgroup/pod/container/memory.max": "500000000\n" }))).toBe(5e8);
  // a container sees its host's path, and its own group where the groups are mounted
  const hosted = {
    "/proc/self/cgroup": "4:memory:/docker/1f\n",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes": "7000\n",
  };
  expect(groupLimit(reader(hosted))).toBe(7000);
  expect(groupLimit(reader({}))).toBe(Number.POSITIVE_INFINITY);
});
