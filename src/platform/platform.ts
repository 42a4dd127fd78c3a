import type { Files } from "../formats/files.js";
import type { Device } from "../runtime/index.js";
import type { DType, HostTensor } from "../tensor/index.js";
import type { TemplateRunner } from "../tokenizers/chat-template.js";

export { DEVICE_NAMES } from "../runtime/device-names.js";

/** An ONNX file that is open to be run. */
export interface OnnxFile {
  /** Its inputs, by name. */
  readonly inputs: Readonly<Record<string, DType>>;
  run(inputs: Readonly<Record<string, HostTensor>>): Promise<Record<string, HostTensor>>;
  close(): Promise<void>;
}

/** Which engine computes, and how. */
export interface DeviceChoice {
  /** An execution provider's name, or "auto": the CPU, or CUDA where it was set up. */
  readonly device: string;
  /** Threads inside an operator; 0: one a physical core. */
  readonly threads: number;
  /** What the products of a training step are computed in. Default "f32". */
  readonly precision?: "f32" | "bf16";
}

/** What a recipe needs from the system it runs on. */
export interface Platform {
  readonly files: Files;
  /** As `files`, but what it makes only this user can read, where the system knows users. Default: `files`. */
  readonly ownFiles?: Files;
  /** Adds to a file's end, making the file when it is not there. */
  append(path: string, content: string | Uint8Array): Promise<void>;
  /**
   * Takes a folder for one run, making it where it is not there; the result gives it back, and removes it when the run made
   * it and left it empty. Throws UserError when another run has it. A run that died gives its folder up.
   */
  lock(folder: string): Promise<() => Promise<void>>;
  /** Starts the engine. Throws UserError naming the device when it cannot run here. */
  startDevice(choice: DeviceChoice): Promise<Device>;
  /** Opens somebody's ONNX file on ONNX Runtime; undefined where there is none. Throws UserError for what it does not load. */
  openOnnx?(path: string): Promise<OnnxFile>;
  /** Renders chat templates, which are not trusted. */
  readonly templates: TemplateRunner;
  /** The path that a `base` means (a folder, a file, a downloaded model). Throws UserError that says how to get it. */
  resolveModel(base: string): string;
  /** The path of what is only looked at: a downloaded model by its name, else the path as it is. */
  resolvePath(path: string): string;
  /** The path that a data file means. */
  resolveData(path: string): string;
  /** A variable of the environment; undefined where it is not set. Default: there are none. */
  variable?(name: string): string | undefined;
  /** Asks a web address, as the system reaches them. Default: the global `fetch`. */
  readonly fetch?: typeof fetch;
  /** Milliseconds since 1970. */
  now(): number;
  /** Bytes: the process's peak so far, and what a run may take in all. */
  memory(): { readonly peak: number; readonly limit: number };
  /** Versions of this program and of what it runs on, for the manifest. */
  readonly versions: Readonly<Record<string, string>>;
  /** Stops what the platform has running. */
  dispose(): Promise<void>;
}

/** Reads a file in chunks of at most a megabyte. Throws UserError when it cannot be read. */
export async function* readChunks(files: Files, path: string): AsyncGenerator<Uint8Array> {
  const file = await files.open(path);
  try {
    for (let offset = 0; offset < file.size; offset += 2 ** 20) {
      const chunk = new Uint8Array(Math.min(2 ** 20, file.size - offset));
      await file.read(offset, chunk);
      yield chunk;
    }
  } finally {
    await file.close();
  }
}
