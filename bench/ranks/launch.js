// Starts bench/ranks/rank.js and reads what it prints.
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const RANK = fileURLToPath(new URL("rank.js", import.meta.url));

/**
 * What ranks found that did what `asked` says (rank.js).
 * @param {object} asked
 * @param {(command: string[]) => string[]} [launch] makes of a program the command that starts it as ranks. Default: the program alone
 * @param {Record<string, string>} [env]
 */
export async function asRanks(asked, launch = (command) => command, env = {}) {
  const [command, ...args] = launch([process.execPath, RANK, JSON.stringify(asked)]);
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, ...env } });
  let out = "";
  child.stdout.on("data", (data) => (out += data));
  const code = await new Promise((done, failed) => child.once("error", failed).once("close", done));
  if (code !== 0) throw new Error(`ranks ended with ${code}: ${[command, ...args].join(" ")}`);
  return JSON.parse(out);
}
