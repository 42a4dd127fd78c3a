import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { add, define, matmul, scalar } from "../graph/index.js";
import { type Device, PortExecutor, QueueDevice, tensor, view } from "../runtime/index.js";
import { UserError } from "../tensor/index.js";
import { nodePort, resolveProvider, startEngine } from "./engine.js";
import { workerFile } from "./package.js";

/** Threads of this process, where the system lists them. */
const osThreads = (): number => (process.platform === "linux" ? readdirSync("/proc/self/task").length : 0);

/** Milliseconds for which this thread was ready and others had the processors, where the system tells; that is not a stall. */
function passedOver(): number {
  if (process.platform !== "linux") return 0;
  return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, "utf8").split(" ")[1]) / 1e6;
}

/** The longest time between two turns of the event loop, a timer's 5 ms included. */
async function longestStall(work: () => Promise<unknown>): Promise<number> {
  let longest = 0;
  let [last, before] = [performance.now(), passedOver()];
  const turn = () => {
    const [now, passed] = [performance.now(), passedOver()];
    longest = Math.max(longest, now - last - (passed - before));
    [last, before] = [now, passed];
  };
  const timer = setInterval(turn, 5);
  await work();
  clearInterval(timer);
  turn();
  return longest;
}

const increment = define("increment", (declare) => ({ y: add(declare("x", [2]), scalar(1)) }));

describe("the engine in its worker thread", () => {
  let device: Device;
  beforeAll(async () => {
    device = await startEngine({ threads: 1 });
  });
  afterAll(() => device.dispose());

  it("runs programs; only what is asked for crosses", async () => {
    const [x, y] = [tensor(device, "f32", [2]), tensor(device, "f32", [2])];
    device.upload(x, Float32Array.of(1, 2));
    device.run(device.compile(increment), { x }, { y });
    expect(await device.download(y)).toEqual(Float32Array.of(2, 3));
    expect((await device.memory()).buffers).toBe(16);
  });

  it("an array that has its buffer for itself is handed over; a part of a bigger one is copied, nothing around it", async () => {
    const x = tensor(device, "f32", [2]);
    const whole = Float32Array.of(5, 6);
    device.upload(x, whole);
    expect(await device.download(x)).toEqual(Float32Array.of(5, 6));
    expect(whole.length).toBe(0);
    expect(() => device.upload(x, whole)).toThrow("upload of 0 bytes into f32[2]");
    const big = new Float32Array(1000).fill(8);
    device.upload(x, big.subarray(3, 5));
    expect(await device.download(x)).toEqual(Float32Array.of(8, 8));
    expect(big.length).toBe(1000);
    device.upload(x, new Float32Array(new SharedArrayBuffer(8)).fill(3));
    expect(await device.download(x)).toEqual(Float32Array.of(3, 3));
  });

  it("the event loop never stalls over 50 ms while a long queue of heavy products runs", { retry: 2 }, async () => {
    const n = 768;
    const product = device.compile(define("product", (d) => ({ y: matmul(d("a", [n, n]), d("b", [n, n])) })));
    const [a, b, y] = [tensor(device, "f32", [n, n]), tensor(device, "f32", [n, n]), tensor(device, "f32", [n, n])];
    device.upload(a, new Float32Array(n * n).fill(0.5));
    await device.flush();
    const start = performance.now();
    const stall = await longestStall(() => {
      for (let i = 0; i < 120; i++) {
        device.run(product, { a, b }, { y });
        if (i % 40 === 0) device.upload(view(b.buffer, "f32", [n, n]), new Float32Array(n * n));
      }
      return device.flush();
    });
    expect(performance.now() - start).toBeGreaterThan(200); // it was a long queue
    expect(stall).toBeLessThan(50);
  });

  it("an error keeps its kind across threads", async () => {
    const other = await startEngine({ threads: 1 });
    const large = other.allocate(2 ** 50);
    other.copy(view(large, "f32", [1]), view(large, "f32", [1], 4));
    const error = await other.flush().catch((e) => e);
    expect(error).toBeInstanceOf(UserError);
    expect(error.message).toMatch(/out of memory/);
    await other.dispose();
  });

  it("engines of different thread counts live in one process, each with its own", async () => {
    const n = 256;
    const square = define("square", (d) => ({ y: matmul(d("x", [n, n]), d("x", [n, n])) }));
    const results: unknown[] = [];
    const threadsMade: number[] = [];
    for (const threads of [1, 3, 1]) {
      const engine = await startEngine({ threads });
      const [x, y] = [tensor(engine, "f32", [n, n]), tensor(engine, "f32", [n, n])];
      const before = osThreads();
      engine.upload(x, new Float32Array(n * n).fill(0.5));
      engine.run(engine.compile(square), { x }, { y });
      results.push((await engine.download(y))[n]);
      threadsMade.push(osThreads() - before);
      await engine.dispose();
    }
    expect(results).toEqual([n / 4, n / 4, n / 4]);
    if (process.platform === "linux") expect(threadsMade).toEqual([0, 2, 0]);
  });

  it("after dispose it says that the engine has ended", async () => {
    const other = await startEngine({ threads: 1 });
    await other.dispose();
    await expect(other.memory()).rejects.toThrow("the engine's thread ended");
  });
});

describe("a thread that dies", () => {
  const deviceOver = (script: string) =>
    new QueueDevice(new PortExecutor(nodePort(new Worker(script, { eval: true }))), "cpu");

  it("surfaces as an error, not as a hang", async () => {
    const exits = deviceOver('require("node:worker_threads").parentPort.once("message", () => process.exit(3))');
    exits.allocate(8);
    await expect(exits.flush()).rejects.toThrow("the engine's thread ended (exit code 3)");
    await exits.dispose();

    const throws = deviceOver(
      'require("node:worker_threads").parentPort.once("message", () => { throw new Error("boom") })',
    );
    await expect(throws.memory()).rejects.toThrow("boom");
    await throws.dispose();
  });

  it("at any later call too", async () => {
    const device = deviceOver("process.exit(4)");
    await new Promise((resolve) => setTimeout(resolve, 100));
    device.allocate(8);
    await expect(device.flush()).rejects.toThrow("exit code 4");
    await expect(device.download(view({ id: 1, bytes: 8 }, "f32", [1]))).rejects.toThrow("exit code 4");
    await device.dispose();
  });
});

it("an idle engine lets the process end; a busy one is waited for", { timeout: 20_000 }, async () => {
  const module = pathToFileURL(new URL(workerFile("engine.js")).pathname).href;
  const script = `
    const { startEngine } = await import("${module}");
    const device = await startEngine({ threads: 1 });
    const buffer = device.allocate(8);
    device.download({ buffer, dtype: "f32", shape: [2], offset: 0 }).then((x) => console.log("answered", x.length));
  `;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.on("data", (chunk) => (output += chunk));
  const timer = setTimeout(() => child.kill("SIGKILL"), 15_000);
  const [code] = await once(child, "close");
  clearTimeout(timer);
  expect({ code, output }).toEqual({ code: 0, output: "answered 2\n" });
});

describe("providers", () => {
  it("a provider that this machine cannot run is refused by name, with what to do", async () => {
    const absent = (["cuda", "coreml", "dml"] as const).filter(
      (p) => p !== ({ darwin: "coreml", win32: "dml", linux: "none" } as Record<string, string>)[process.platform],
    );
    for (const provider of absent) {
      const device = await startEngine({ provider }).catch((error) => error);
      if (!(device instanceof Error)) return void (await device.dispose()); // a machine that has it
      expect(device).toBeInstanceOf(UserError);
      expect(device.message).toMatch(`device: '${provider}' cannot be used on this machine; it `);
      expect(device.message).toContain("Use device: cpu");
    }
  });

  it("device: auto is the CPU where no GPU libraries are installed; a wrong name gets a suggestion", async () => {
    expect(["cpu", "cuda"]).toContain(await resolveProvider("auto"));
    expect(await resolveProvider("webgpu")).toBe("webgpu");
    const error = await resolveProvider("webpgu").catch((e) => e);
    expect(error).toBeInstanceOf(UserError);
    expect(error.message).toBe(
      "device: 'webpgu' is not known; expected one of auto, cpu, webgpu, cuda, coreml, dml. Did you mean 'webgpu'?",
    );
  });
});

it("runs where another package has opened ONNX Runtime first", async () => {
  const dist = new URL("../../dist/", import.meta.url).href;
  const script = `
    import { InferenceSession } from "onnxruntime-node";
    import { add, define, scalar } from "${dist}graph/index.js";
    import { toOnnx } from "${dist}onnx/index.js";
    import { nativeOrtEngine } from "${dist}node/ort-library.js";
    const model = toOnnx(define("increment", (declare) => ({ y: add(declare("x", [2]), scalar(1)) })), "cpu");
    await InferenceSession.create(model);
    const vector = (...values) => ({ dtype: "f32", shape: [2], data: Float32Array.from(values) });
    const y = vector(0, 0);
    (await nativeOrtEngine(1).load(model, "cpu")).run({ x: vector(1, 2) }, { y });
    console.log([...y.data].join());
  `;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let out = "";
  child.stdout.on("data", (chunk) => (out += chunk));
  await once(child, "close");
  expect(out).toBe("2,3\n");
});
