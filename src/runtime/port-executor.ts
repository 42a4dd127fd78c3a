import type { TypedArray } from "../tensor/index.js";
import { UserError } from "../tensor/index.js";
import type { Command, Executor } from "./commands.js";
import { isMask } from "./data.js";
import type { DeviceMemory, View } from "./device.js";

/** The part of a worker's port that is used: Node's worker_threads and Web Workers both fit behind it. */
export interface Port {
  post(message: unknown, transfer: readonly ArrayBuffer[]): void;
  onMessage(listener: (message: unknown) => void): void;
  onFailure(listener: (error: Error) => void): void;
  close(): Promise<void>;
}

type Request = { id: number } & (
  | { kind: "execute"; commands: readonly Command[]; apart: boolean }
  | { kind: "download"; view: View }
  | { kind: "memory" }
  | { kind: "dispose" }
);
type Reply = { id: number; value?: unknown; error?: { message: string; user: boolean } };

/** An executor on the other side of a port. */
export class PortExecutor implements Executor {
  private readonly port: Port;
  private readonly waiting = new Map<number, { resolve: (value: never) => void; reject: (error: unknown) => void }>();
  private nextId = 1;
  private failure: Error | undefined;

  constructor(port: Port) {
    this.port = port;
    port.onMessage((message) => this.settle(message as Reply));
    port.onFailure((error) => {
      this.failure = error;
      for (const { reject } of this.waiting.values()) reject(error);
      this.waiting.clear();
    });
  }

  execute(commands: readonly Command[], apart = false): Promise<number> {
    const transfer: ArrayBufferLike[] = [];
    const posted = commands.map((c) => {
      if (c.kind === "compile") transfer.push(c.model.buffer);
      if (c.kind !== "upload" || isMask(c.data)) return c;
      const data = alone(c.data);
      transfer.push(data.buffer);
      return { ...c, data };
    });
    return this.ask({ kind: "execute", commands: posted, apart }, [...new Set(transfer as ArrayBuffer[])]);
  }

  download(view: View): Promise<TypedArray> {
    return this.ask({ kind: "download", view });
  }

  memory(): Promise<DeviceMemory> {
    return this.ask({ kind: "memory" });
  }

  async dispose(): Promise<void> {
    if (!this.failure) await this.ask({ kind: "dispose" });
    await this.port.close();
  }

  private ask<T>(
    request: Omit<Request, "id"> & Record<string, unknown>,
    transfer: readonly ArrayBuffer[] = [],
  ): Promise<T> {
    if (this.failure) return Promise.reject(this.failure);
    const id = this.nextId++;
    return new Promise<T>((resolve, reject) => {
      this.port.post({ ...request, id }, transfer);
      this.waiting.set(id, { resolve, reject });
    });
  }

  private settle({ id, value, error }: Reply): void {
    const waiter = this.waiting.get(id);
    this.waiting.delete(id);
    if (error) waiter?.reject(error.user ? new UserError(error.message) : new Error(error.message));
    else waiter?.resolve(value as never);
  }
}

/** The array itself where it spans all of its buffer and can be handed over, else a copy of just its bytes. */
function alone(data: TypedArray): TypedArray {
  const { buffer, byteOffset, byteLength } = data;
  if (buffer instanceof ArrayBuffer && byteLength === buffer.byteLength) return data;
  return new Uint8Array(new Uint8Array(buffer, byteOffset, byteLength));
}

/** The worker's side: answers requests from an executor of its own. */
export function serve(executor: Executor, post: (message: unknown, transfer: readonly ArrayBuffer[]) => void) {
  return async (message: unknown): Promise<void> => {
    const request = message as Request;
    const { id } = request;
    try {
      if (request.kind === "download") {
        const value = await executor.download(request.view);
        post({ id, value }, [value.buffer as ArrayBuffer]);
      } else if (request.kind === "memory") post({ id, value: await executor.memory() }, []);
      else if (request.kind === "execute") {
        post({ id, value: await executor.execute(request.commands, request.apart) }, []);
      } else post({ id, value: await executor.dispose() }, []);
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      post({ id, error: { message: text, user: error instanceof UserError } }, []);
    }
  };
}
