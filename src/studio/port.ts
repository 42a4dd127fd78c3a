import { apiError } from "../server/errors.js";
import type { StudioBackend } from "./backend.js";
import type { Studio } from "./studio.js";

/** Messages between a page and the worker that has the studio in it. */
export interface StudioPort {
  post(message: unknown): void;
  onMessage(listener: (message: unknown) => void): void;
}

/** A studio with what a page needs that has no disk behind it. */
export type PortStudio = Studio & Required<Pick<StudioBackend, "offer" | "files">>;

type Question =
  | { readonly what: "call" | "stream"; readonly name: string; readonly request: Readonly<Record<string, unknown>> }
  | { readonly what: "upload"; readonly name: string; readonly file: Blob }
  | { readonly what: "offer"; readonly files: Parameters<PortStudio["offer"]>[0] }
  | { readonly what: "files"; readonly path: string };

/** What the page says: a question with a number of its own, or that it wants no more of one. */
export type Asked = { readonly id: number } & (Question | { readonly what: "stop" });

/** What it is told: events first where it asked for a stream, then the reply or why there is none. */
export type Said = { readonly id: number } & (
  | { readonly event: unknown }
  | { readonly reply: unknown }
  | { readonly failure: string }
);

/**
 * Answers what a page asks through a port, as `http.ts` does over HTTP. What is asked before the studio is open waits for it. `onError`
 * is told of errors that are no user's.
 */
export function answerPort(port: StudioPort, studio: Promise<PortStudio>, onError: (error: unknown) => void): void {
  const going = new Map<number, AbortController>();
  const answer = async (asked: Question & { readonly id: number }): Promise<void> => {
    const control = new AbortController();
    const { signal } = control;
    const { id } = asked;
    going.set(id, control);
    try {
      const open = await studio;
      if (asked.what === "stream")
        for await (const event of open.stream(asked.name, asked.request, signal)) {
          if (signal.aborted) break;
          port.post({ id, event: plain(event) } satisfies Said);
        }
      const reply = asked.what === "stream" ? undefined : await replyTo(open, asked, signal);
      port.post({ id, reply } satisfies Said);
    } catch (error) {
      const { status, message } = apiError(error);
      if (status === 500 && !signal.aborted) onError(error);
      const failure = status === 500 ? "this failed, and not by what you did; the browser's console says why" : message;
      port.post({ id, failure } satisfies Said);
    } finally {
      going.delete(id);
    }
  };
  port.onMessage((message) => {
    const asked = message as Asked;
    if (asked.what === "stop") going.get(asked.id)?.abort();
    else void answer(asked);
  });
}

async function replyTo(studio: PortStudio, asked: Question, signal: AbortSignal): Promise<unknown> {
  if (asked.what === "upload") return studio.upload(asked.name, bytesOf(asked.file));
  if (asked.what === "offer") return studio.offer(asked.files);
  if (asked.what === "files") return studio.files(asked.path);
  return plain(await studio.call(asked.name, asked.request, signal));
}

/** The same as it would be over HTTP. */
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

async function* bytesOf(file: Blob): AsyncGenerator<Uint8Array> {
  const reader = file.stream().getReader();
  for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
}
