// A DPO step against two steps of cross entropy over the same tokens, one on the better answers and one on the worse, in turns in one
// process, on random weights of SmolLM2-135M's shape: `node bench/pairs.js`. Options: --layers 30, --rounds 3, --threads 1, --pairs 4.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { startEngine } from "../dist/node/engine.js";
import { BENCH_SHAPES, randomWeights } from "../dist/recipes/bench.js";
import { random } from "../dist/tensor/index.js";
import { BlockTrainer } from "../dist/training/block-trainer.js";
import { initialAdapter } from "../dist/training/init.js";
import { createObjective } from "../dist/training/objectives/index.js";
import { LORA as lora, median } from "./common.js";

const { values } = parseArgs({
  options: {
    layers: { type: "string", default: "30" },
    rounds: { type: "string", default: "3" },
    threads: { type: "string", default: "1" },
    pairs: { type: "string", default: "4" },
  },
});
const [layers, rounds, threads, count] = [values.layers, values.rounds, values.threads, values.pairs].map(Number);
const config = { ...BENCH_SHAPES["smollm2-135m"], numHiddenLayers: layers };

const workload = JSON.parse(readFileSync(new URL("workloads/instruct.json", import.meta.url), "utf8"));
const rng = random(workload.seed, "pairs");
const draw = (length) => Array.from({ length }, () => rng.below(config.vocabSize));

/** Pairs of the workload's prompts; the worse answer is as long as the next row's. Those with `own` numbers share no prompt. */
const samples = workload.rows.slice(0, count).flatMap(([prompt, answer], index) => {
  const before = draw(prompt);
  const lengths = [answer, workload.rows[index + 1][1]];
  return ["chosen", "rejected"].map((side, i) => {
    const ids = Int32Array.from([...before, ...draw(lengths[i])]);
    return { index, ids, supervised: new Uint8Array(ids.length).fill(1, prompt), side };
  });
});
const apart = samples.map((sample, i) => ({ ...sample, index: i }));
const of = (side) => samples.filter((sample) => sample.side === side);

const device = await startEngine({ provider: "cpu", threads });
const model = { device, config, weights: randomWeights(device, config, workload.seed) };
const open = async (name) =>
  new BlockTrainer(model, {
    trainables: { kind: "lora", lora },
    ...(await initialAdapter(config, lora, 0)),
    optimizer: { name: "adamw", betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 },
    objective: createObjective({ name }),
    references: new Map([...samples, ...apart].map((sample) => [sample, -100])),
    seed: 1,
  });
const [sft, dpo] = [await open("sft"), await open("dpo")];
const SIDES = {
  "two SFT steps": [sft, [of("chosen"), of("rejected")]],
  "DPO step": [dpo, [samples]],
  "DPO step, prompts not shared": [dpo, [apart]],
};

/** CPU seconds of the whole process: on a busy machine they say more than the clock. */
async function timed([trainer, steps]) {
  const before = process.cpuUsage();
  const start = performance.now();
  for (const step of steps) await trainer.step([step], { lr: 1e-4, maxGradNorm: 1 });
  const { user, system } = process.cpuUsage(before);
  return { cpu: (user + system) / 1e6, wall: (performance.now() - start) / 1000 };
}

const found = Object.fromEntries(Object.keys(SIDES).map((name) => [name, []]));
for (let round = 0; round <= rounds; round++)
  for (const [name, side] of Object.entries(SIDES)) {
    const taken = await timed(side);
    if (round > 0) found[name].push(taken);
  }
const tokens = samples.reduce((sum, { ids }) => sum + ids.length, 0);
const shared = samples.reduce((sum, { supervised, side }) => sum + (side === "chosen" ? supervised.indexOf(1) : 0), 0);
console.log(`${count} pairs, ${tokens} tokens, ${shared} of them prompts twice; ${layers} layers, ${threads} threads`);
const [first] = Object.keys(SIDES);
for (const kind of ["cpu", "wall"])
  for (const name of Object.keys(SIDES)) {
    const seconds = median(found[name].map((one) => one[kind]));
    const ratio = median(found[name].map((one, i) => one[kind] / found[first][i][kind]));
    console.log(`${kind.padEnd(4)} ${name.padEnd(30)} ${seconds.toFixed(2)} s  ${ratio.toFixed(3)}`);
  }
for (const trainer of [sft, dpo]) await trainer.dispose();
await device.dispose();
