// A server in a process of its own, so that the memory that a soak measures is the server's alone. Its parent gives it orders.
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { loadModel } from "../../dist/node/index.js";
import { serve } from "../../dist/node/serve.js";

const [base, options] = JSON.parse(process.argv[2]);
const model = await loadModel(base, { threads: 1 });
const failures = [];
const onError = (error) => failures.push(String(error?.stack ?? error));
const { url, registry, close } = await serve(model, { port: 0, ...options, onError });

const orders = {
  load: (name, path) => registry.load(name, path).then(() => undefined),
  unload: (name) => registry.unload(name),
  failures: () => failures,
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
