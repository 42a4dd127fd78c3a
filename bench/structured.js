// What a JSON Schema and tools cost a step of 16 texts: a real model decodes three batches in turns, step by step: free ones, ones held to
// a schema, ones that may call tools. Each text gets its own prompt, its token is chosen from the model's own logits, and a text that is
// whole begins anew, which is counted too; the first step, in which grammars are made, is not. Prints a JSON line for greedy choice and
// one for temperature 0.8: of each side the median over its steps of the milliseconds of processor
// time of all threads (`step`), of those in which tokens are chosen and grammars begun (`choosing`), and of the clock (`clock`); and what a
// side takes more than the free one, as a share of its step: `more`, of the medians, and `more_choosing`, of the choosing alone.
// Options: --model FILE (needed), --quantize int4, --threads 2, --texts 16, --steps 40 a side and temperature.
import { parseArgs } from "node:util";
import { Decoder, Sequence } from "../dist/generation/decoder.js";
import { sampleToken } from "../dist/generation/sample.js";
import { nodePlatform } from "../dist/node/platform.js";
import { loadModel } from "../dist/recipes/model.js";
import { formConstraint } from "../dist/recipes/text-grammar.js";
import { random } from "../dist/tensor/index.js";
import { toolTemplate } from "../dist/tokenizers/tools/index.js";
import { median } from "./common.js";

const { values } = parseArgs({
  options: {
    model: { type: "string" },
    quantize: { type: "string", default: "int4" },
    threads: { type: "string", default: "2" },
    texts: { type: "string", default: "16" },
    steps: { type: "string", default: "40" },
  },
});
const { model: path, quantize } = values;
const [threads, texts, steps] = [values.threads, values.texts, values.steps].map(Number);
const TEMPERATURES = [0, 0.8];
/** Tokens that an answer may have: close to what it needs, as the limits of real requests are. */
const ROOM = 80;

const text = { type: "string" };
const schema = {
  type: "object",
  properties: {
    name: { type: "string", maxLength: 20 },
    age: { type: "integer", minimum: 0, maximum: 120 },
    home: { enum: ["town", "country"] },
    pets: { type: "array", items: { type: "object", properties: { kind: text, name: text }, required: ["kind"] } },
    note: { type: ["string", "null"] },
  },
  required: ["name", "age", "home", "pets", "note"],
};
const parameters = { type: "object", properties: { town: text, day: text }, required: ["town"] };
const tools = ["weather", "parcel", "calendar"].map((name) => ({ name, parameters, strict: true }));
const { format } = toolTemplate("{{ messages }}"); // of a template that knows no tools: written by us
const FORMS = {
  free: undefined,
  schema: { format: { type: "json_schema", schema } },
  tools: { calling: { tools: { tools, choice: "auto", parallel: true }, as: format } },
};

const { resident, tokenizer } = await loadModel(path, nodePlatform(), { threads, quantize });
const stopIds = new Set([tokenizer.eosId]);
for (const temperature of TEMPERATURES) {
  const figures = await inTurns(temperature);
  console.log(JSON.stringify({ model: path, quantize, threads, texts, steps, temperature, ...figures }));
}
process.exit(0);

async function inTurns(temperature) {
  const sides = {};
  for (const [name, form] of Object.entries(FORMS)) sides[name] = await batch(form, temperature);
  const spent = Object.fromEntries(Object.keys(sides).map((name) => [name, []]));
  for (const step of Object.values(sides)) await step();
  for (let n = 0; n < steps; n++) for (const [name, step] of Object.entries(sides)) spent[name].push(await step());
  const figures = {};
  for (const [name, list] of Object.entries(spent)) {
    const of = (key) => median(list.map((one) => one[key]));
    // The mean: masks are made, and texts begun, at some steps alone.
    const choosing = list.reduce((sum, one) => sum + one.choosing, 0) / steps;
    figures[name] = { step: of("step"), choosing, clock: of("clock") };
  }
  const { free } = figures;
  for (const own of Object.values(figures)) {
    own.more = own.step / free.step - 1;
    own.more_choosing = (own.choosing - free.choosing) / free.step;
  }
  return figures;
}

/** Texts that are decoded together; returns what makes one step of all of them. */
async function batch(form, temperature) {
  const rng = random(1, "draws");
  // One of its own: a run reaches to the last row in use, so that sides in one decoder would pay for each other.
  const decoder = Object.assign(new Decoder(resident), { leastRows: 2, secondCopy: 2 ** 30 }); // as a server has it
  const all = [];
  for (let i = 0; i < texts; i++) {
    const said = `<|im_start|>user\nWho is number ${i}?<|im_end|>\n<|im_start|>assistant\n`;
    const sequence = new Sequence(decoder, 64 + steps + 1);
    all.push({ sequence, logits: await sequence.feed(tokenizer.encode(said, { addSpecialTokens: false })) });
  }
  const choose = (one) => {
    if (form && (!one.constraint || one.constraint.done))
      one.constraint = formConstraint(tokenizer, form, { stopIds, maxTokens: ROOM });
    const { constraint } = one;
    const id = sampleToken(one.logits, { temperature, ...(constraint ? { constraint } : {}) }, [], rng);
    if (stopIds.has(id)) one.constraint = undefined;
    return id;
  };
  return async () => {
    const [began, clock] = [cpu(), performance.now()];
    const ids = all.map(choose);
    const choosing = cpu() - began;
    const found = await Promise.all(all.map(({ sequence }, i) => sequence.feed([ids[i]])));
    for (const [i, one] of all.entries()) one.logits = found[i];
    return { step: cpu() - began, choosing, clock: performance.now() - clock };
  };
}

/** Milliseconds of processor time of this process. */
function cpu() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
