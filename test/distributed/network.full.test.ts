import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { twoHosts } from "../../bench/ranks/hosts.js";
import { begin, isBuilt, launcherOf } from "./mpi.js";

const BENCH = fileURLToPath(new URL("../../bench/network.js", import.meta.url));
const launcher = launcherOf("Open MPI");
const canMake = launcher !== undefined && (await makesHosts());

/** Whether this process may make what the bench makes; a word on the terminal where it may not. */
async function makesHosts(): Promise<boolean> {
  try {
    (await twoHosts({ bitsPerSecond: 1e9, seconds: 0.01 })).remove();
    return true;
  } catch (error) {
    console.warn(`skipped: no network namespaces with a shaped link can be made here: ${(error as Error).message}`);
    return false;
  }
}

it.skipIf(!canMake || !isBuilt)(
  "ranks of two network namespaces train over a link of 1 Gb/s and 10 ms, which what they add up crosses",
  async () => {
    const { code, out, err } = await begin(process.execPath, [
      BENCH,
      "--json",
      "--steps",
      "3",
      "--lora-r",
      "8",
      "--only",
      "1 Gb/s, 10 ms",
    ]).ended;
    expect(code, err).toBe(0);
    const { sums, rows } = JSON.parse(out) as {
      sums: { bytes: number; seconds: number; sent: number; received: number; least: number }[];
      rows: { seconds: number; modelled: { exchange: number } }[];
    };
    const [sum, row] = [sums[0]!, rows[0]!];
    for (const crossed of [sum.sent, sum.received]) expect(crossed).toBeGreaterThanOrEqual(sum.bytes);
    expect(sum.seconds).toBeGreaterThan(sum.least);
    // two short exchanges, and two whose senders ask first
    expect(row.modelled.exchange).toBeGreaterThan(0.08);
    expect(row.seconds).toBeGreaterThan(0.8 * row.modelled.exchange);
  },
);
