import type { EventOf, ReplyOf, StudioBackend } from "../../src/studio/backend.js";
import type { Asked, Said, StudioPort } from "../../src/studio/port.js";

type Unnumbered<T> = T extends unknown ? Omit<T, "id"> : never;
type Question = Unnumbered<Exclude<Asked, { what: "stop" }>>;

/** The studio in a worker, through a port. `fail` says that the worker ended: whatever is asked fails with that. */
export function portBackend(port: StudioPort): { readonly backend: StudioBackend; fail(why: string): void } {
  const waiting = new Map<number, (said: Said) => void>();
  let asked = 0;
  let failure: string | undefined;
  port.onMessage((message) => waiting.get((message as Said).id)?.(message as Said));

  /** Events, then the reply as what the generator returns. */
  async function* said(question: Question, signal?: AbortSignal): AsyncGenerator<unknown, unknown> {
    signal?.throwIfAborted();
    if (failure !== undefined) throw new Error(failure);
    const id = ++asked;
    const came: Said[] = [];
    let wake = (): void => undefined;
    let over = false;
    waiting.set(id, (one) => {
      came.push(one);
      wake();
    });
    const aborted = () => wake();
    signal?.addEventListener("abort", aborted);
    port.post({ id, ...question } as Asked);
    try {
      for (;;) {
        if (came.length === 0 && !signal?.aborted) await new Promise<void>((resolve) => void (wake = resolve));
        signal?.throwIfAborted();
        const next = came.shift()!;
        over = !("event" in next);
        if ("failure" in next) throw new Error(next.failure);
        if ("reply" in next) return next.reply;
        yield next.event;
      }
    } finally {
      waiting.delete(id);
      signal?.removeEventListener("abort", aborted);
      if (!over) port.post({ id, what: "stop" } satisfies Asked);
    }
  }
  /** What is asked for is no stream: the first that comes is the reply. */
  const ask = async <T>(question: Question, signal?: AbortSignal): Promise<T> =>
    (await said(question, signal).next()).value as T;

  const backend: StudioBackend = {
    call: (name, request, signal) => ask<ReplyOf<typeof name>>({ what: "call", name, request }, signal),
    async *stream(name, request, signal) {
      yield* said({ what: "stream", name, request }, signal) as AsyncGenerator<EventOf<typeof name>, unknown>;
    },
    upload: (file) => ask({ what: "upload", name: file.name, file }),
    offer: (files) => ask({ what: "offer", files }),
    files: (path) => ask({ what: "files", path }),
  };
  return {
    backend,
    fail(why) {
      failure = why;
      for (const [id, tell] of waiting) tell({ id, failure: why });
    },
  };
}
