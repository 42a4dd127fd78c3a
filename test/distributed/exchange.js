// A rank that adds up a gradient of so many megabytes many times; the first prints the mean milliseconds of each eight in a row, one by one of
// which would count what the other rank began earlier. Started by network.full.test.ts.
import { openMpi } from "../../dist/node/index.js";

const world = await openMpi();
const vector = new Float32Array((Number(process.argv[2]) * 1e6) / 4);
await world.sum(vector);
const means = [];
for (let round = 0; round < 4; round++) {
  await world.barrier();
  const began = performance.now();
  for (let i = 0; i < 8; i++) await world.sum(vector);
  means.push((performance.now() - began) / 8);
}
if (world.rank === 0) process.stdout.write(`${JSON.stringify(means.map((ms) => Math.round(ms * 100) / 100))}\n`);
await world.close();
