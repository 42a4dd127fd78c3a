import type { TypedArray } from "../tensor/index.js";
import { UserError } from "../tensor/index.js";
import type { Command, Executor } from "./commands.js";
import type { DeviceMemory, View } from "./device.js";

/** The part of a worker's port that is used: Node's worker_threads and Web Workers both fit behind it. */
export interface Port {
  post(message: unknown, transfer: readonly ArrayBuffer[]): void;
  onMessage(listener: (message: unknown) => void): void;
  onFailure(listener: (error: Error) => void): void;
  close(): Promise<void>;
}

type Request = { id: number } & (
  | { kind: "execute"; commands: readonly Command[] }
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

  execute(commands: readonly Command[]): Promise<void> {
    const transfer = commands.flatMap((c) =>
      c.kind === "upload" ? [whole(c.data)] : c.kind === "compile" ? [whole(c.model)] : [],
    );
    return this.ask({ kind: "execute", commands }, [...new Set(transfer.filter((b) => b !== undefined))]);
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
      this.waiting.set(id, { resolve, reject });
      this.port.post({ ...request, id }, transfer);
    });
  }

  private settle({ id, value, error }: Reply): void {
    const waiter = this.waiting.get(id);
    this.waiting.delete(id);
    if (error) waiter?.reject(error.user ? new UserError(error.message) : new Error(error.message));
    else waiter?.resolve(value as never);
  }
}

/** The buffer of an array that spans all of it: only such a one can be handed over. */
function whole(data: TypedArray): ArrayBuffer | undefined {
  return data.buffer instanceof ArrayBuffer && data.byteLength === data.buffer.byteLength ? data.buffer : undefined;
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
      else
        post(
          { id, value: await (request.kind === "execute" ? executor.execute(request.commands) : executor.dispose()) },
          [],
        );
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      post({ id, error: { message: text, user: error instanceof UserError } }, []);
    }
  };
}
