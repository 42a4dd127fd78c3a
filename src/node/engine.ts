import "./no-telemetry.js";
import { existsSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { Worker } from "node:worker_threads";
import { define, neg } from "../graph/index.js";
import { PROVIDERS, type Provider } from "../onnx/index.js";
import { DEVICE_NAMES } from "../platform/platform.js";
import { type Device, type Port, PortExecutor, QueueDevice } from "../runtime/index.js";
import { nearest, UserError } from "../tensor/index.js";
import { LIBRARY_CACHE } from "./openvino.js";
import { findOpenvino } from "./openvino-library.js";
import { hasLibrary } from "./ort-library.js";
import { ensureOrt } from "./ort-package.js";
import { workerFile } from "./package.js";

export interface EngineOptions {
  /** Default "cpu". */
  readonly provider?: Provider;
  /** Threads inside an operator. Default 0: one a physical core. */
  readonly threads?: number;
  /** What the products of a training step are computed in. "bf16" is OpenVINO's, on the CPU. Default "f32". */
  readonly precision?: "f32" | "bf16";
}

/** What the engine's thread is started with. */
export interface WorkerOptions {
  readonly provider: Provider;
  readonly threads: number;
  /** The process's thread pool has another size. */
  readonly ownThreads: boolean;
  /** OpenVINO's library, for the programs that bear bf16. */
  readonly openvino: string | undefined;
}

/** What each provider needs, for the message when it is not there. */
const NEEDS: Readonly<Record<Provider, string>> = {
  cpu: "onnxruntime-node brings it for Linux, macOS and Windows on x64 and arm64",
  webgpu: "it needs a GPU with a Vulkan, Metal or Direct3D 12 driver",
  cuda: "it needs an NVIDIA GPU, CUDA with cuDNN, and the CUDA libraries that onnxruntime-node's own install script fetches",
  coreml: "it exists on macOS only",
  dml: "it exists on Windows only",
};

/** Size of the process's thread pool, from its first CPU engine until the last has ended. */
let poolThreads: number | undefined;
let cpuEngines = 0;

/**
 * Starts an ONNX Runtime device in a worker thread of its own. Throws UserError when this machine cannot run the provider:
 * a small program is run on it first. The CPU's engine opens while its caller goes on, and refuses what is waited for first.
 */
export async function startEngine({
  provider = "cpu",
  threads = 0,
  precision = "f32",
}: EngineOptions = {}): Promise<Device> {
  const ort = await ensureOrt();
  if (provider === "cuda" && !hasCudaLibraries(ort)) throw refusal(provider, "its libraries are not installed");
  const openvino = precision === "bf16" ? openvinoFor(provider) : undefined;
  if (openvino) process.env[LIBRARY_CACHE.name] ??= LIBRARY_CACHE.value;
  if (provider === "cpu") poolThreads ??= threads;
  const ownThreads = poolThreads !== undefined && poolThreads !== threads;
  const worker = new Worker(workerFile("engine-worker.js"), {
    workerData: { provider, threads, ownThreads, openvino } satisfies WorkerOptions,
    execArgv: [], // flags such as --input-type are meant for the main thread
  });
  if (provider === "cpu") {
    cpuEngines++;
    worker.once("exit", () => --cpuEngines || (poolThreads = undefined));
  }
  const executor = new PortExecutor(nodePort(worker));
  const refused = (error: unknown): never => {
    const why = error instanceof Error ? error.message : String(error);
    throw refusal(provider, why.trim().replace(/^.* (was false\.|'probe':) /s, ""), error);
  };
  const opening = provider === "cpu" ? executor.memory().catch(refused) : undefined;
  const backends = {
    ...(provider === "cpu" && hasLibrary() ? { full: "native" as const } : {}),
    ...(openvino ? { reduced: "openvino" as const } : {}),
  };
  const device = new QueueDevice(executor, provider, backends, opening);
  if (opening) return device;
  try {
    device.release(device.compile(define("probe", (d) => ({ y: neg(d("x", [1])) }))));
    await device.flush();
  } catch (error) {
    await device.dispose();
    refused(error);
  }
  return device;
}

/**
 * The provider that a config's `device` stands for. "auto" is the CPU, or CUDA where its libraries were installed and run:
 * the other providers are slower or less tried here than the CPU. Throws UserError for a name that is none.
 */
export async function resolveProvider(device: string): Promise<Provider> {
  if (device === "auto") return (await runsCuda()) ? "cuda" : "cpu";
  if (Object.hasOwn(PROVIDERS, device)) return device as Provider;
  const hint = nearest(device, DEVICE_NAMES);
  throw new UserError(
    `device: '${device}' is not known; expected one of ${DEVICE_NAMES.join(", ")}${hint ? `. Did you mean '${hint}'?` : ""}`,
    { code: "device_unavailable" },
  );
}

/** OpenVINO's library. Throws UserError when it is not there, or the provider is not the CPU. */
function openvinoFor(provider: Provider): string {
  if (provider !== "cpu")
    throw new UserError(`precision: bf16 runs on the CPU, not on '${provider}'. Use device: cpu or precision: f32`, {
      code: "device_unavailable",
    });
  const library = findOpenvino();
  if (library) return library;
  throw new UserError(
    "precision: bf16 needs OpenVINO, which was not found on this machine. Install it with 'pip install openvino' " +
      "(or conda, or brew), or set OPENVINO_LIB to the path of its C library (libopenvino_c); or use precision: f32",
    { code: "device_unavailable" },
  );
}

function refusal(provider: Provider, why: string, cause?: unknown): UserError {
  const instead = provider === "cpu" ? "" : ". Use device: cpu or device: auto";
  return new UserError(`device: '${provider}' cannot be used on this machine; ${NEEDS[provider]} (${why})${instead}`, {
    cause,
    code: "device_unavailable",
  });
}

function hasCudaLibraries(ort: string): boolean {
  const { platform, arch } = process;
  const library = platform === "win32" ? "onnxruntime_providers_cuda.dll" : "libonnxruntime_providers_cuda.so";
  return existsSync(join(ort, "bin", "napi-v6", platform, arch, library));
}

async function runsCuda(): Promise<boolean> {
  if (!hasCudaLibraries(await ensureOrt())) return false;
  try {
    await (await startEngine({ provider: "cuda" })).dispose();
    return true;
  } catch {
    return false;
  }
}

/** Wraps a worker as a port. Its end, expected or not, fails whatever is waited for. It does not keep the process alive while nothing is waited for. */
export function nodePort(worker: Worker): Port {
  let failed: ((error: Error) => void) | undefined;
  let waiting = 0;
  worker.on("error", (error) => failed?.(error instanceof Error ? error : new Error(String(error))));
  worker.on("exit", (code) => failed?.(new Error(`the engine's thread ended (exit code ${code})`)));
  return {
    post: (message, transfer) => {
      worker.postMessage(message, transfer as never);
      if (waiting++ === 0) worker.ref();
    },
    onMessage: (listener) =>
      worker.on("message", (message) => {
        if (--waiting === 0) worker.unref();
        listener(message);
      }),
    onFailure: (listener) => {
      failed = listener;
    },
    close: async () => {
      await worker.terminate();
    },
  };
}
