// A thread of its own that asks a server for a path again and again and keeps the slowest answer: how long it took, less what a
// server that does nothing took at the same time, or, where the system tells it and it is less, how long the server's main thread
// had a processor meanwhile. So the time that a busy machine gives to others does not count. `parentPort` says when to stop.
import { readFileSync } from "node:fs";
import { createServer, get } from "node:http";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Milliseconds that a process' main thread has run so far; undefined where the system does not tell. */
function ranFor(pid) {
  try {
    return Number(readFileSync(`/proc/${pid}/task/${pid}/schedstat`, "utf8").split(" ")[0]) / 1e6;
  } catch {
    return undefined;
  }
}

function ask(port, path) {
  const began = performance.now();
  return new Promise((resolve, reject) => {
    const sent = get({ port, path }, (reply) => {
      reply.resume();
      reply.on("end", () => resolve(performance.now() - began));
    });
    sent.on("error", reject);
  });
}

async function probe({ port, pid, path }) {
  let over = false;
  parentPort.once("message", () => (over = true));
  const idle = new Worker(new URL(import.meta.url), { workerData: { idle: true } });
  const own = await new Promise((resolve) => idle.once("message", resolve));
  let worst = 0;
  parentPort.postMessage("ready");
  while (!over) {
    const before = ranFor(pid);
    const asked = ask(port, path).then((ms) => [ms, before === undefined ? ms : ranFor(pid) - before]);
    const [[ms, ran], nothing] = await Promise.all([asked, ask(own, "/")]);
    worst = Math.max(worst, Math.min(ms - nothing, ran));
    await pause(5);
  }
  await idle.terminate();
  parentPort.postMessage(worst);
}

if (!isMainThread && workerData?.idle) {
  const server = createServer((_, reply) => reply.end("ok"));
  server.listen(0, () => parentPort.postMessage(server.address().port));
} else if (!isMainThread) await probe(workerData);
