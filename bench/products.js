// How much of a training step the engine's own matrix products take: every product of every program of a step is counted by its shape, and
// each shape is timed alone, on the same engine with the same threads. Steps and products take turns, so that both meet the same machine.
// Prints a JSON line: GFLOP of a step; GFLOP/s in steps, and of the products alone; `share` is the one over the other. All are medians of
// the rounds. Under `products`, the milliseconds a step of each shape that takes over 1 % of it. Element-wise work, norms,
// softmax, copies, the optimiser and whatever lowrank does between programs is what the share lacks to 1.
// Options: --workload dense-512, --shape smollm2-135m, --dtype float32 or bfloat16, --threads 2, --rounds 3, --steps 2 a round.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { define, expandAttention, isOpen, matmul, OPEN, sized, topological } from "../dist/graph/index.js";
import { startEngine } from "../dist/node/engine.js";
import { benchmark } from "../dist/recipes/bench.js";
import { tensor } from "../dist/runtime/index.js";
import { sizeOf } from "../dist/tensor/index.js";
import { LORA, median } from "./common.js";

const { values } = parseArgs({
  options: {
    workload: { type: "string", default: "dense-512" },
    shape: { type: "string", default: "smollm2-135m" },
    dtype: { type: "string", default: "float32" },
    threads: { type: "string", default: "2" },
    rounds: { type: "string", default: "3" },
    steps: { type: "string", default: "2" },
  },
});
const { shape, dtype } = values;
const [threads, rounds, steps] = [values.threads, values.rounds, values.steps].map(Number);
const workload = JSON.parse(readFileSync(new URL(`workloads/${values.workload}.json`, import.meta.url)));

/** Operands that a product meets in turns: as in a step, where each layer has its own, they come from memory and not from a cache. */
const OPERANDS = 8;

const device = await startEngine({ threads, precision: dtype === "bfloat16" ? "bf16" : "f32" });
const noted = noteProducts(device);
const measured = [];
for (let round = 0; round < rounds; round++) {
  const ran = await steppedRound();
  measured.push({ ...ran, ...(await aloneRound(ran.products)) });
}
await device.dispose();
console.log(JSON.stringify(summary()));
process.exit(0);

/** Seconds of this round's steps behind its first, and how often each product ran in them. */
async function steppedRound() {
  let [calls, began, seconds] = [0, 0, 0];
  // The bench asks for the time where a step begins and where it ends; the first step compiles and is not measured.
  const now = () => {
    const time = performance.now();
    if (calls === 2) noted.clear();
    if (calls % 2 === 0) began = time;
    else if (calls > 1) seconds += (time - began) / 1000;
    calls++;
    return time;
  };
  await benchmark(device, workload, { shape, lora: LORA, checkpointing: false, steps, now });
  const products = new Map(noted);
  noted.clear();
  return { seconds, products };
}

/** Seconds of the same products, each shape by itself. */
async function aloneRound(products) {
  let alone = 0;
  const each = new Map();
  for (const [key, product] of products) {
    const seconds = product.count * (await secondsAlone(product));
    each.set(key, seconds);
    alone += seconds;
  }
  return { alone, each };
}

async function secondsAlone({ a, b, y, attrs, precision }) {
  const program = device.compile(
    define("product", (declare) => ({ y: matmul(declare("a", a), declare("b", b), attrs) })),
    precision,
  );
  const sets = Array.from({ length: OPERANDS }, () => {
    const views = { a: tensor(device, "f32", a), b: tensor(device, "f32", b) };
    for (const view of Object.values(views)) {
      const data = new Float32Array(sizeOf(view.shape));
      for (let i = 0; i < data.length; i++) data[i] = ((i * 2654435761) % 1024) / 1024 - 0.5;
      device.upload(view, data);
    }
    return { inputs: views, out: tensor(device, "f32", y) };
  });
  const pass = () =>
    device.apart(() => {
      for (const { inputs, out } of sets) device.run(program, inputs, { y: out });
    });
  await pass();
  let [passes, spent] = [0, 0];
  for (; spent < 30 || passes < 3; passes++) spent += await pass();
  for (const { inputs, out } of sets) for (const { buffer } of [inputs.a, inputs.b, out]) device.free(buffer);
  device.release(program);
  return spent / 1000 / (passes * OPERANDS);
}

/** Counts the products of every run on `device` from now on, by what they are. */
function noteProducts(device) {
  const counts = new Map();
  const programs = new Map();
  const [compile, run] = [device.compile.bind(device), device.run.bind(device)];
  device.compile = (f, precision, fixed) => {
    const program = compile(f, precision, fixed);
    programs.set(program.id, { f, precision, products: productsOf(f) });
    return program;
  };
  device.run = (program, inputs, outputs, bound) => {
    const { f, precision, products } = programs.get(program.id);
    if (products.length > 0) {
      const open = openSize(f, { ...inputs, ...outputs });
      for (const { a, b, y, attrs } of products) {
        const at = { a: sized(a, open), b: sized(b, open), y: sized(y, open), attrs, precision };
        const key = JSON.stringify(at);
        const sum = counts.get(key) ?? { ...at, count: 0 };
        sum.count++;
        counts.set(key, sum);
      }
    }
    return run(program, inputs, outputs, bound);
  };
  return counts;
}

/** The products of a function, those of attention too. */
function productsOf(f) {
  const found = [];
  const visit = (outputs) => {
    for (const value of topological(outputs)) {
      const [a, b] = value.inputs;
      if (value.op === "matmul") found.push({ a: a.shape, b: b.shape, y: value.shape, attrs: value.attrs });
      if (value.op === "attention") {
        const operands = value.inputs.map(({ dtype, shape }) => ({ op: "input", inputs: [], attrs: {}, dtype, shape }));
        const [q, k, v, mask] = operands;
        visit([expandAttention({ q, k, v, mask }, value.attrs)]);
      }
    }
  };
  visit(Object.values(f.outputs));
  return found;
}

/** What the open size of a function is in a run. */
function openSize(f, views) {
  for (const [name, value] of [...Object.entries(f.inputs), ...Object.entries(f.outputs)]) {
    const axis = value.shape.findIndex(isOpen);
    if (axis >= 0 && views[name]) return (views[name].shape[axis] / value.shape[axis]) * OPEN;
  }
  return 1;
}

/** Floating-point operations of a product: two for each of its terms. */
function operations({ a, attrs: { transA }, y }) {
  return 2 * sizeOf(y) * a.at(transA ? -2 : -1);
}

function summary() {
  const gflop = median(measured.map(({ products }) => total(products) / steps)) / 1e9;
  const rate = (seconds) => Math.round((gflop * steps) / seconds);
  const last = measured.at(-1);
  const large = [...last.each].filter(([, seconds]) => seconds > 0.01 * last.alone).toSorted((x, y) => y[1] - x[1]);
  return {
    workload: workload.name,
    shape,
    dtype,
    threads,
    rounds,
    steps,
    gflop: Number(gflop.toFixed(1)),
    step_gflops: rate(median(measured.map(({ seconds }) => seconds))),
    products_gflops: rate(median(measured.map(({ alone }) => alone))),
    share: Number(median(measured.map(({ alone, seconds }) => alone / seconds)).toFixed(3)),
    shares: measured.map(({ alone, seconds }) => Number((alone / seconds).toFixed(3))),
    products: large.map(([key, seconds]) => ({
      ...described(last.products.get(key)),
      ms: Math.round((1000 * seconds) / steps),
    })),
  };
}

function total(products) {
  return [...products.values()].reduce((sum, one) => sum + one.count * operations(one), 0);
}

function described({ a, b, attrs: { transA, transB }, count }) {
  return { product: `[${a}]${transA ? "^T" : ""} [${b}]${transB ? "^T" : ""}`, count: count / steps };
}
