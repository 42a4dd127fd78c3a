// Loss against bytes sent, of ranks that add up gradients in every step and of ranks that take local steps (communicator.local_steps), in
// one process: `node bench/local-steps.js`. Options: --base models/tiny, --data FILE, --ranks 4, --steps 60, --every off,1,5,10,30,
// --rows 16 (a step's), --lr 5e-3, --outer 0.7,0.9 (learning rate and momentum), --max-seq-len 128. The loss is the validation rows' after the last step; bytes are what one rank sends
// in a mean step, its start left out: as MpiCommunicator sends them, without the network's own headers.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { loraFinetune } from "../dist/node/index.js";

const TINY = fileURLToPath(new URL("../models/tiny", import.meta.url));
const { values: asked } = parseArgs({
  options: {
    base: { type: "string", default: TINY },
    data: { type: "string", default: join(TINY, "data/train.jsonl") },
    ranks: { type: "string", default: "4" },
    steps: { type: "string", default: "60" },
    every: { type: "string", default: "off,1,5,10,30" },
    rows: { type: "string", default: "16" },
    lr: { type: "string", default: "5e-3" },
    outer: { type: "string", default: "0.7,0.9" },
    "max-seq-len": { type: "string", default: "128" },
  },
});
const [ranks, maxSteps, batchSize, lr, maxSeqLen] = ["ranks", "steps", "rows", "lr", "max-seq-len"].map((key) =>
  Number(asked[key]),
);

const [outerLr, outerMomentum] = asked.outer.split(",").map(Number);

/** Ranks of this process: what each brings waits for all. `sent` counts a rank's bytes since it was last set to 0. */
function meeting() {
  let [brought, waiting] = [[], []];
  const meet = (rank, values) =>
    new Promise((done) => {
      brought[rank] = values;
      waiting.push(done);
      if (waiting.length < ranks) return;
      const [all, ready] = [brought, waiting];
      [brought, waiting] = [[], []];
      for (const end of ready) end(all);
    });
  return Array.from({ length: ranks }, (_, rank) => ({
    rank,
    size: ranks,
    sent: 0,
    async sum(vector) {
      this.sent += vector.byteLength * (vector.byteLength <= 2 ** 15 ? ranks - 1 : (2 * (ranks - 1)) / ranks);
      const all = await meet(rank, vector.slice());
      for (let i = 0; i < vector.length; i++) vector[i] = all.reduce((sum, other) => sum + other[i], 0);
    },
    async broadcast(data, from) {
      data.set((await meet(rank, data.slice()))[from]);
    },
    async gather(data) {
      this.sent += (ranks - 1) * (256 + Math.max(0, data.length - 248));
      return (await meet(rank, data.slice())).map((own) => own.slice());
    },
    async barrier() {
      await meet(rank, new Uint8Array(0));
    },
  }));
}

async function trained(localSteps) {
  const folder = mkdtempSync(join(tmpdir(), "lowrank-local-steps-"));
  const options = {
    base: asked.base,
    outputDir: folder,
    data: { train: asked.data, validation: 0.1, maxSeqLen },
    lora: { targetModules: "all-linear" },
    optimizer: { lr },
    batchSize,
    maxSteps,
    evalEvery: 0,
    saveEvery: 0,
    threads: 1,
    ...(localSteps === null ? {} : { communicator: { localSteps, outerLr, outerMomentum } }),
  };
  let [before, sent, loss] = [undefined, 0, undefined];
  const run = async (communicator) => {
    for await (const event of loraFinetune(options, { communicator })) {
      if (communicator.rank > 0) continue;
      if (event.type === "start") before = communicator.sent;
      if (event.type === "step" && event.metrics.step === maxSteps) sent = communicator.sent - before;
      if (event.type === "eval") loss = event.metrics.evalLoss;
    }
  };
  try {
    await Promise.all(meeting().map(run));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return { loss, bytes: sent / maxSteps };
}

console.log(`${ranks} ranks, ${maxSteps} steps of ${batchSize} rows, lr ${lr}, outer ${asked.outer}`);
console.log("| local_steps | bytes a rank sends in a step | validation loss |\n| --- | --- | --- |");
for (const text of asked.every.split(",")) {
  const { loss, bytes } = await trained(text === "off" ? null : Number(text));
  console.log(`| ${text} | ${Math.round(bytes).toLocaleString("en-US")} | ${loss.toFixed(4)} |`);
}
