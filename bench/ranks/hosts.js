// Two network namespaces of Linux as two machines, each with a name and one device of its own, and one link between them.
import { execFileSync, spawn } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ADDRESSES = ["10.77.0.1", "10.77.0.2"];
const DELAY = fileURLToPath(new URL("delay.py", import.meta.url));
/** Bytes of a frame: what a packet of the slower link, which a program carries, may have without taking a core. */
const MTU = 9000;

/**
 * Makes the two machines. Throws where the system does not let this process; what was made is gone then.
 * @param {{ bitsPerSecond?: number, seconds?: number }} link its rate, and what a packet takes from end to end; neither: as the system has it
 * @returns {Promise<{ launch: (command: string[]) => string[], env: Record<string, string>, remove: () => void }>} `launch` makes of a program
 * the command of Open MPI that starts it as a rank on either machine
 */
export async function twoHosts({ bitsPerSecond, seconds }) {
  const names = ["a", "b"].map((end) => `lowrank-${process.pid}${end}`);
  const folder = mkdtempSync(join(tmpdir(), "lowrank-hosts-"));
  let carrier;
  const remove = () => {
    carrier?.stdin.end();
    for (const name of names) {
      for (const pid of quietly("ip", "netns", "pids", name).split("\n").filter(Boolean))
        process.kill(Number(pid), "SIGKILL");
      quietly("ip", "netns", "del", name);
    }
    rmSync(folder, { recursive: true, force: true });
    process.off("exit", remove);
  };
  process.on("exit", remove);
  try {
    for (const name of names) run("ip", "netns", "add", name);
    if (seconds) carrier = await delayed(names, seconds);
    else
      run("ip", "link", "add", "link0", "netns", names[0], "type", "veth", "peer", "name", "link0", "netns", names[1]);
    for (const [i, name] of names.entries()) {
      const within = (...words) => run("ip", "netns", "exec", name, ...words);
      within("ip", "link", "set", "lo", "up");
      within("ip", "link", "set", "link0", "mtu", String(MTU), "txqueuelen", "1000", "up");
      within("ip", "addr", "add", `${ADDRESSES[i]}/24`, "dev", "link0");
      const rate = ["rate", `${bitsPerSecond}bit`, "burst", "256kb", "latency", "50ms"];
      if (bitsPerSecond) within("tc", "qdisc", "add", "dev", "link0", "root", "tbf", ...rate);
    }
  } catch (error) {
    remove();
    throw error;
  }
  const agent = join(folder, "agent.sh"); // mpirun has it start its own program on the second machine
  const start = `ip netns exec ${names[1]} unshare --uts sh -c 'hostname ${names[1]}; exec sh -c "$*"' sh "$@"`;
  writeFileSync(agent, `#!/bin/sh\nshift\nexec ${start}\n`);
  chmodSync(agent, 0o755);
  const mpirun = [
    "ip", "netns", "exec", names[0], "unshare", "--uts", "sh", "-c", `hostname ${names[0]}; exec "$@"`, "sh", "mpirun", "-n", "2", "--host", ADDRESSES.map((address) => `${address}:1`).join(","), "--bind-to", "none",
    "--mca", "plm_rsh_agent", agent, "--mca", "pml", "ob1", "--mca", "btl", "tcp,self",
  ]; // biome-ignore format: a command line
  const env = { OMPI_ALLOW_RUN_AS_ROOT: "1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: "1" };
  return { launch: (command) => [...mpirun, ...command], env, remove };
}

/** Two devices whose packets a program carries from one to the other, each moved to its machine. */
async function delayed(names, seconds) {
  const devices = names.map((_, i) => `lr${process.pid}${i}`);
  const child = spawn("python3", [DELAY, String(seconds), ...devices], { stdio: ["pipe", "pipe", "inherit"] });
  await new Promise((ready, failed) => {
    child.stdout.once("data", ready);
    child.once("error", failed);
    child.once("exit", (code) => failed(new Error(`${DELAY} ended with ${code}`)));
  });
  for (const [i, name] of names.entries()) run("ip", "link", "set", devices[i], "netns", name, "name", "link0");
  return child;
}

const run = (command, ...args) => execFileSync(command, args, { stdio: ["ignore", "pipe", "pipe"], encoding: "utf8" });

/** What a command prints; nothing where it fails: what it is about was not made. */
function quietly(...words) {
  try {
    return run(...words);
  } catch {
    return "";
  }
}
