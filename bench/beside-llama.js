// Tokens/s of 1, 4 and 16 texts at a time beside llama.cpp, on the same GGUF file and threads, in turns in one process; llama.cpp through
// node-llama-cpp, in the folder that LOWRANK_NODE_LLAMA_CPP names: a context with as many sequences, which it decodes in one batch, as its
// server does with slots; neither side has HTTP. Prints one JSON line: tokens per second of the median step, by the clock and by the
// processor time of all threads, which other work on the machine disturbs less (with one thread a side it is what the step takes).
// Options: --model FILE (a GGUF; needed), --threads 2, --steps 12, --modes none,int8,int4 (how lowrank holds the base).
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { Decoder, Sequence } from "../dist/generation/decoder.js";
import { sampleToken } from "../dist/generation/sample.js";
import { nodePlatform } from "../dist/node/platform.js";
import { loadModel } from "../dist/recipes/model.js";
import { random } from "../dist/tensor/index.js";
import { median } from "./common.js";

const { values } = parseArgs({
  options: {
    model: { type: "string" },
    threads: { type: "string", default: "2" },
    steps: { type: "string", default: "12" },
    modes: { type: "string", default: "none,int8,int4" },
  },
});
const [threads, steps] = [Number(values.threads), Number(values.steps)];
const TEXTS = [1, 4, 16];
const PROMPT = [100, 101, 102, 103];

const decoders = {};
for (const mode of values.modes.split(",")) {
  const { resident } = await loadModel(values.model, nodePlatform(), { threads, quantize: mode });
  decoders[mode] = Object.assign(new Decoder(resident), { leastRows: 2, secondCopy: 2 ** 30 }); // as a server has it
}
const llama = await llamaModel();
const rates = {};
for (const count of TEXTS) rates[count] = await inTurns(count);
console.log(JSON.stringify({ model: values.model, threads, steps, tokens_per_second: rates }));
process.exit(0);

/** Tokens/s of each side with so many texts: of its median step, the first left out. */
async function inTurns(count) {
  const sides = { "llama.cpp": await llamaTexts(count) };
  for (const [mode, decoder] of Object.entries(decoders)) sides[mode] = await ourTexts(decoder, count);
  const times = Object.fromEntries(Object.keys(sides).map((name) => [name, []]));
  for (let n = 0; n <= steps; n++) {
    for (const [name, { step }] of Object.entries(sides)) {
      const [began, clock] = [cpu(), performance.now()];
      await step();
      if (n > 0) times[name].push({ processor: cpu() - began, clock: performance.now() - clock });
    }
  }
  for (const { dispose } of Object.values(sides)) await dispose();
  const rate = (list, key) => (1000 * count) / median(list.map((one) => one[key]));
  return Object.fromEntries(
    Object.entries(times).map(([name, list]) => [
      name,
      { clock: rate(list, "clock"), processor: rate(list, "processor") },
    ]),
  );
}

/** Texts that choose their own next tokens, greedily. */
async function ourTexts(decoder, count) {
  const rng = random(1, "draws");
  const texts = Array.from({ length: count }, () => ({ sequence: new Sequence(decoder, PROMPT.length + steps + 2) }));
  for (const [i, text] of texts.entries()) text.logits = await text.sequence.feed([...PROMPT, 200 + i]);
  return {
    step: () =>
      Promise.all(
        texts.map(async (text) => {
          text.logits = await text.sequence.feed([sampleToken(text.logits, { temperature: 0 }, [], rng)]);
        }),
      ),
    dispose: () => texts.forEach(({ sequence }) => void sequence.dispose()),
  };
}

async function llamaModel() {
  const folder = process.env.LOWRANK_NODE_LLAMA_CPP ?? ".";
  const entry = join(folder, "node_modules/node-llama-cpp/dist/index.js");
  const { getLlama } = await import(pathToFileURL(entry).href);
  return (await getLlama({ gpu: false, build: "never" })).loadModel({ modelPath: values.model });
}

async function llamaTexts(count) {
  const context = await llama.createContext({ contextSize: 64, sequences: count, threads, batchSize: 64 });
  const texts = Array.from({ length: count }, (_, i) =>
    context.getSequence().evaluate([...PROMPT, 200 + i], { temperature: 0, yieldEogToken: true }),
  );
  await Promise.all(texts.map((text) => text.next()));
  return {
    step: () => Promise.all(texts.map((text) => text.next())),
    async dispose() {
      for (const text of texts) await text.return();
      await context.dispose();
    },
  };
}

/** Milliseconds of processor time of this process. */
function cpu() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
