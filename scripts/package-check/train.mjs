// One step of training, from an installed package: node train.mjs FOLDER
import { loraFinetune } from "lowrank";
import { createServer } from "lowrank/server";

const run = loraFinetune({
  base: "models/tiny",
  data: { train: "models/tiny/data/train.jsonl", maxSeqLen: 128 },
  maxSteps: 1,
  outputDir: process.argv[2],
});
run.result().then(({ step, adapter }) => {
  if (step !== 1 || typeof createServer !== "function") throw new Error(`${step} steps`);
  console.log(`trained: ${adapter}`);
});
