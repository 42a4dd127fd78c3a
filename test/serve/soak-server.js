// A server in a process of its own, so that the memory that a soak measures is the server's alone. Its parent gives it orders.
// Options are those of `serve`, and `threads`; `made`: it first writes so many adapters of random numbers into a folder, and serves
// them as a0, a1, ...
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { adapterShapes, writeAdapter } from "../../dist/formats/peft/adapter.js";
import { nodeFiles } from "../../dist/node/files.js";
import { loadModel } from "../../dist/node/index.js";
import { serve } from "../../dist/node/serve.js";
import { f32, random } from "../../dist/tensor/index.js";
import { adapterBase } from "../../dist/weights/adapter-base.js";

const [base, { threads = 1, made, ...options }] = JSON.parse(process.argv[2]);
const model = await loadModel(base, { threads });
const failures = [];
const onError = (error) => failures.push(String(error?.stack ?? error));
const adapters = { ...options.adapters, ...(made ? await madeAdapters(made) : {}) };
const { url, registry, close } = await serve(model, { port: 0, ...options, adapters, onError });

/** Adapters whose B is not 0: each says something of its own. */
async function madeAdapters({ folder, count, scale }) {
  const targetModules = ["q_proj", "v_proj", "down_proj"];
  const config = { r: 8, alpha: 16, dropout: 0, useRslora: false, init: "kaiming", targetModules };
  const paths = {};
  for (let i = 0; i < count; i++) {
    const rng = random(i, "adapter");
    const tensors = new Map();
    for (const [key, shape] of adapterShapes(config, model.resident.config)) {
      const values = Float32Array.from({ length: shape[0] * shape[1] }, () => scale * rng.normal());
      tensors.set(key, f32(shape, values));
    }
    paths[`a${i}`] = join(folder, `a${i}`);
    await writeAdapter(nodeFiles, paths[`a${i}`], { config, tensors, base: await adapterBase(model.open) });
  }
  return paths;
}

const orders = {
  load: (name, path) => registry.load(name, path).then(() => undefined),
  unload: (name) => registry.unload(name),
  failures: () => failures,
  /** Bytes, garbage and all, without stopping for it. */
  resident: () => process.memoryUsage().rss,
  /** Bytes, once what is garbage is gone; `buffers` without those kept for texts that begin alike. */
  async memory() {
    for (let i = 0; i < 4; i++) {
      globalThis.gc();
      await sleep(100);
    }
    const { buffers, resident } = await model.resident.device.memory();
    const { heapUsed: heap, external } = process.memoryUsage();
    return { resident, heap, external, buffers: buffers - model.decoder.prefixes.bytes };
  },
  async close() {
    await close();
    await model.dispose();
  },
};
process.on("message", async ({ id, order, values }) => process.send({ id, value: await orders[order](...values) }));
process.on("disconnect", () => process.exit());
process.send({ url });
