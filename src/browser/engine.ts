import type { Files, OpenFile } from "../formats/files.js";
import { DEVICE_NAMES, type DeviceChoice } from "../platform/platform.js";
import { type Device, PortExecutor, QueueDevice } from "../runtime/index.js";
import { nearest, UserError } from "../tensor/index.js";
import type { PartReply, PartRequest } from "./engine-side.js";
import { type BrowserDevice, ENGINE_FILES, type EngineOpened, startWorker, workerPort } from "./workers.js";

/** Where the browser's engine comes from. */
export interface EnginePlace {
  /** The folder that the site serves onnxruntime-web's `dist` files from. Default: where an import map has "onnxruntime-web". */
  readonly engine?: string | URL | undefined;
  /** The address of `lowrank/browser/worker.js`, where the page's policy allows no workers of blobs. Default: a blob. */
  readonly worker?: string | URL | undefined;
}

/** The most threads that are taken of themselves: WebAssembly gains little from more. */
const MOST_THREADS = 8;

/** Threads that a tab may have: one where the page is not cross-origin isolated, for then workers share no memory. */
function threadsHere(asked: number): number {
  if (!globalThis.crossOriginIsolated) return 1;
  if (asked > 0) return asked;
  return Math.max(1, Math.min(MOST_THREADS, Math.ceil(navigator.hardwareConcurrency / 2)));
}

/** Why there is one thread only, or undefined. */
export function threadNote(): string | undefined {
  if (globalThis.crossOriginIsolated) return undefined;
  return (
    "this page is not cross-origin isolated, so the engine runs on one thread; serve it with the headers " +
    "Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp"
  );
}

/**
 * Starts ONNX Runtime in a worker. Throws UserError where the device is none of a browser's, where there is no GPU and one is asked for,
 * where no files of onnxruntime-web are found, or where they cannot be run here.
 */
export async function startEngine(choice: DeviceChoice, files: Files, place: EnginePlace): Promise<Device> {
  const provider = providerOf(choice);
  const [near, far] = [new MessageChannel(), engineFolder(place.engine)];
  const stop = answerParts(near.port1, files);
  const threads = provider === "webgpu" ? 1 : threadsHere(choice.threads);
  const start = { role: "engine", engine: far, provider, threads } as const;
  const worker = startWorker({ ...start, files: near.port2 }, place.worker);
  try {
    await whenOpen(worker, far, provider);
  } catch (error) {
    worker.terminate();
    stop();
    throw error;
  }
  const port = workerPort(worker);
  const closing = {
    ...port,
    close: async () => {
      stop();
      await port.close();
    },
  };
  return new QueueDevice(new PortExecutor(closing), provider);
}

/** "auto" is WebAssembly: what a GPU in a browser is worth differs by machine, so it is asked for by name. */
function providerOf({ device, precision }: DeviceChoice): BrowserDevice {
  if (precision === "bf16")
    throw new UserError("precision: bf16 is computed by OpenVINO, which no browser has; use precision: f32", {
      code: "device_unavailable",
    });
  if (device === "auto") return "cpu";
  if (device === "cpu" || device === "webgpu") return device;
  const known = (DEVICE_NAMES as readonly string[]).includes(device);
  const hint = known ? undefined : nearest(device, DEVICE_NAMES);
  throw new UserError(
    `device: '${device}' ${known ? "cannot be had in a browser" : "is not known"}; use cpu (WebAssembly), webgpu or auto${hint ? `. Did you mean '${hint}'?` : ""}`,
    { code: "device_unavailable" },
  );
}

/** The folder of onnxruntime-web's files, absolute and with a slash at its end. */
function engineFolder(given: string | URL | undefined): string {
  if (given !== undefined) {
    const { document, location } = globalThis as {
      document?: { readonly baseURI: string };
      location: { readonly href: string };
    };
    const base = document?.baseURI ?? location.href;
    return new URL(`${given}`.replace(/\/?$/, "/"), base).href;
  }
  try {
    return new URL(".", import.meta.resolve("onnxruntime-web")).href;
  } catch (cause) {
    throw new UserError(
      "engine: where the files of onnxruntime-web are was not said; serve the folder node_modules/onnxruntime-web/dist, and give " +
        'its address, as in createBrowserApi({ engine: "/onnxruntime-web/" }), or put "onnxruntime-web" into the page\'s import map',
      { cause, code: "device_unavailable" },
    );
  }
}

function whenOpen(worker: Worker, folder: string, provider: BrowserDevice): Promise<void> {
  return new Promise((resolve, reject) => {
    const [first, second, third] = ENGINE_FILES[provider];
    const refuse = (why: string) =>
      reject(
        new UserError(
          `device: the engine cannot be opened (${why}); onnxruntime-web's files are expected at ${folder}: ${first}, ${second} and ` +
            `${third}, served as JavaScript and application/wasm`,
          { code: "device_unavailable" },
        ),
      );
    worker.addEventListener("error", ({ message }) => refuse(message || "its worker cannot be started"), {
      once: true,
    });
    worker.addEventListener(
      "message",
      ({ data: { failure, user } }: MessageEvent<EngineOpened>) => {
        if (failure === undefined) resolve();
        else if (user) reject(new UserError(failure, { code: "device_unavailable" }));
        else refuse(failure);
      },
      { once: true },
    );
  });
}

/** Answers the worker's questions for parts of files; the result stops that. */
function answerParts(port: MessagePort, files: Files): () => void {
  const open = new Map<string, Promise<OpenFile>>();
  const read = async ({ id, path, offset, bytes: count }: PartRequest): Promise<PartReply> => {
    try {
      if (!open.has(path)) open.set(path, files.open(path));
      const bytes = new Uint8Array(count);
      await (await open.get(path)!).read(offset, bytes);
      return { id, bytes };
    } catch (error) {
      open.delete(path);
      return { id, failure: (error as Error).message };
    }
  };
  port.onmessage = async ({ data }: MessageEvent<PartRequest>) => {
    const reply = await read(data);
    port.postMessage(reply, "bytes" in reply ? [reply.bytes.buffer as ArrayBuffer] : []);
  };
  return () => port.close();
}
