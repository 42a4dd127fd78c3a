import type { Backend } from "../onnx/index.js";
import type { TypedArray } from "../tensor/index.js";
import type { Data } from "./data.js";
import type { Box, DeviceMemory, FilePlace, View } from "./device.js";

/** What a device is asked to do, as plain data: the same list is executed in-process or posted to a worker. */
export type Command =
  | { kind: "allocate"; id: number; bytes: number; place: FilePlace | undefined }
  | { kind: "free"; id: number }
  | {
      kind: "compile";
      id: number;
      name: string;
      model: Uint8Array;
      backend: Backend;
      fixed: Record<string, View>;
      external: Record<string, View>;
      /** The model that takes `external` as inputs, where it need not have them itself. */
      open: Uint8Array | undefined;
      /** Inputs that runs also write. */
      updates: readonly string[];
    }
  | { kind: "release"; id: number }
  | { kind: "bind"; id: number; views: Readonly<Record<string, View>> }
  | { kind: "unbind"; id: number }
  | {
      kind: "run";
      program: number;
      inputs: Record<string, View>;
      outputs: Record<string, View>;
      bound: readonly number[];
    }
  | { kind: "upload"; view: View; data: Data }
  | { kind: "copy"; from: View; to: View; parts: readonly Box[] | undefined };

/** What is done even after a failure. */
export const TIDYING: ReadonlySet<Command["kind"]> = new Set(["free", "release", "unbind"]);

/**
 * Executes commands; `download` and `memory` answer. `CommandExecutor` does over any engine and its memory, which need not be the
 * host's; `PortExecutor` hands them to another thread.
 */
export interface Executor {
  /**
   * The milliseconds that it took, without what was queued before. After a failure nothing is executed any more; one of commands that
   * are `apart` is theirs alone, see `Device.apart`.
   */
  execute(commands: readonly Command[], apart?: boolean): Promise<number>;
  download(view: View): Promise<TypedArray>;
  memory(): Promise<DeviceMemory>;
  dispose(): Promise<void>;
}
