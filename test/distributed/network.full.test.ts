import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, it } from "vitest";
import { modelStep } from "../../src/training/scaling.js";
import { firstRows, TINY } from "../tiny-run.js";
import { begin, CLI, isBuilt, launcherOf } from "./mpi.js";

// Network namespaces of this machine as hosts, and between them a link of 1 Gb/s. Every packet takes 10 ms where the kernel can delay them
// (its module sch_netem), else no longer than it takes.
const folder = mkdtempSync(join(tmpdir(), "lowrank-network-"));
const HOSTS = [1, 2].map((i) => ({
  name: `lowrank${process.pid}-${i}`,
  link: `lr${process.pid}-${i}`,
  address: `10.213.77.${i}`,
}));
const LINK = { bitsPerSecond: 1e9, latency: 0 };
const DELAYED = "netem rate 1gbit delay 10ms limit 100000";
const NARROW = "tbf rate 1gbit burst 64kb latency 400ms";

const launcher = launcherOf("MPICH");
const sh = (command: string) =>
  spawnSync("sh", ["-c", command], {
    encoding: "utf8",
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
  });
const remove = () => HOSTS.map(({ name }) => sh(`ip netns del ${name}`));
const fault = launcher && isBuilt ? linked() : "not tried";
if (fault) {
  console.warn(`skipped: namespaces as hosts: ${fault}`);
  remove();
}
afterAll(() => {
  remove();
  rmSync(folder, { recursive: true, force: true });
});

/** Makes the hosts and their link; what the system says where it does not permit that. */
function linked(): string | undefined {
  const [a, b] = HOSTS as [(typeof HOSTS)[0], (typeof HOSTS)[0]];
  const commands = [
    ...HOSTS.map(({ name }) => `ip netns add ${name}`),
    `ip link add ${a.link} netns ${a.name} type veth peer name ${b.link} netns ${b.name}`,
    ...HOSTS.flatMap(({ name, link, address }) => [
      `ip -n ${name} addr add ${address}/24 dev ${link}`,
      `ip -n ${name} link set ${link} up`,
      `ip -n ${name} link set lo up`,
    ]),
  ];
  for (const command of commands) {
    const { status, stderr } = sh(command);
    if (status !== 0) return `${command}: ${stderr.trim()}`;
  }
  const shaped = (how: string) =>
    HOSTS.every(({ name, link }) => sh(`tc -n ${name} qdisc replace dev ${link} root ${how}`).status === 0);
  if (shaped(DELAYED)) LINK.latency = 0.01;
  else if (!shaped(NARROW)) return "tc knows neither netem nor tbf";
  // what mpiexec starts the other host's ranks with, as it would ssh
  const agent = `#!/bin/sh\n${HOSTS.map(({ name, address }) => `[ "$1" = ${address} ] && host=${name}`).join("\n")}\nshift\nexec ip netns exec $host sh -c "$*"\n`;
  writeFileSync(join(folder, "agent"), agent, { mode: 0o755 });
  return undefined;
}

/** MPICH's ranks of one machine meet in its memory, unless they are told that none is near. */
const OVER_THE_LINK = { MPIR_CVAR_NOLOCAL: "1", MPICH_NO_LOCAL: "1" };

/** Runs a program as one rank on each host. */
const onHosts = (...words: string[]) =>
  begin("ip", [
    "netns", "exec", HOSTS[0]!.name, launcher!, "-launcher", "rsh", "-launcher-exec", join(folder, "agent"),
    "-hosts", HOSTS.map(({ address }) => address).join(","), "-n", "2", process.execPath, ...words,
  ], { PATH: `${process.env.PATH}:/usr/sbin:/sbin`, ...OVER_THE_LINK }).ended; // biome-ignore format: a command line

const words = (name: string) => [
  "train", "--base", TINY, "--data", join(folder, "rows.jsonl"), "--output", join(folder, name), "data.max_seq_len=64", "max_steps=2", "threads=1",
]; // biome-ignore format: a command line
const losses = (name: string): number[] =>
  readFileSync(join(folder, name, "metrics.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line).loss);

it.skipIf(fault)("two hosts train as one process does", async () => {
  firstRows(join(folder, "rows.jsonl"), 12);
  const { code, err } = await onHosts(CLI, ...words("hosts"));
  expect(code, err).toBe(0);
  expect(await begin(process.execPath, [CLI, ...words("one")]).ended).toMatchObject({ code: 0 });
  const [found, expected] = [losses("hosts"), losses("one")];
  expect(found).toHaveLength(2);
  for (const [i, loss] of found.entries()) expect(Math.abs(loss / expected[i]! - 1)).toBeLessThan(1e-6);
});

it.skipIf(fault)("adding up a gradient takes at least what the model says of the link alone", async () => {
  const megabytes = 1.84;
  const { code, out, err } = await onHosts(fileURLToPath(new URL("exchange.js", import.meta.url)), String(megabytes));
  expect(code, err).toBe(0);
  const times: number[] = JSON.parse(out);
  const costs = {
    steps: [[1, 1]],
    secondsPerToken: 0,
    secondsPerStep: 0,
    jitter: 0,
    gradientBytes: megabytes * 1e6,
    secondsPerByte: 0,
  };
  const { exchange } = modelStep({ ...costs, stages: 1, largestShare: 1, streamBytes: 0, batchSize: 1 }, 2, LINK);
  console.warn(
    `${megabytes} MB between two hosts: ${Math.min(...times)} ms at best, ${(1000 * exchange).toFixed(1)} ms modelled (latency ${1000 * LINK.latency} ms); ${times.join(", ")}`,
  );
  expect(Math.min(...times)).toBeGreaterThan(0.95 * 1000 * exchange);
});
