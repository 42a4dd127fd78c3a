// A rank that trains each base that it is given, one after the other, three steps each. Started by families.full.test.ts:
// families-rank.js FOLDER ROWS BASE...; the runs are FOLDER/<the base's name>.
import { basename, join } from "node:path";
import { loraFinetune, openMpi } from "../../dist/node/index.js";

const [folder, rows, ...bases] = process.argv.slice(2);
const world = await openMpi(); // undefined: started alone
for (const base of bases) {
  const options = {
    base,
    outputDir: join(folder, basename(base)),
    data: { train: rows, maxSeqLen: 64 },
    lora: { targetModules: "all-linear", dropout: 0.1 },
    optimizer: { lr: 0.02 },
    batchSize: 3,
    gradientAccumulationSteps: 2,
    maxSteps: 3,
    threads: 1,
  };
  await loraFinetune(options, world ? { communicator: world } : {}).result();
}
await world?.close();
