// A thread of its own that asks for a path again and again and keeps the slowest answer. Beside it the same is asked of a
// server that does nothing: what that takes is the machine's own delay. `parentPort` says when to stop.
import { createServer, get } from "node:http";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function ask(port, path) {
  const began = performance.now();
  return new Promise((resolve, reject) => {
    const sent = get({ port, path }, (reply) => {
      reply.resume();
      reply.on("end", () => resolve(reply.statusCode === 200 ? performance.now() - began : Number.POSITIVE_INFINITY));
    });
    sent.on("error", reject);
  });
}

async function probe(port, path) {
  let over = false;
  parentPort.once("message", () => (over = true));
  const idle = new Worker(new URL(import.meta.url), { workerData: { idle: true } });
  const own = await new Promise((resolve) => idle.once("message", resolve));
  const worst = { asked: 0, idle: 0, count: 0 };
  parentPort.postMessage("ready");
  while (!over) {
    const [asked, nothing] = await Promise.all([ask(port, path), ask(own, "/")]);
    worst.asked = Math.max(worst.asked, asked);
    worst.idle = Math.max(worst.idle, nothing);
    worst.count++;
    await pause(5);
  }
  await idle.terminate();
  parentPort.postMessage(worst);
}

if (!isMainThread && workerData?.idle) {
  const server = createServer((_, reply) => reply.end("ok"));
  server.listen(0, () => parentPort.postMessage(server.address().port));
} else if (!isMainThread) await probe(workerData.port, workerData.path);
