import type { z } from "zod";
import type { CALLS, STREAMS } from "./routes/index.js";

export type CallName = keyof typeof CALLS;
export type StreamName = keyof typeof STREAMS;

/** What a route is asked with: plain JSON, keys in snake_case. */
export type RequestOf<N extends CallName | StreamName> = z.input<(typeof CALLS & typeof STREAMS)[N]["request"]>;

/** What a call replies: plain JSON too. */
export type ReplyOf<N extends CallName> = Awaited<ReturnType<(typeof CALLS)[N]["answer"]>>;

/** What a stream says, event by event. */
export type EventOf<N extends StreamName> =
  ReturnType<(typeof STREAMS)[N]["events"]> extends AsyncGenerator<infer Event> ? Event : never;

/** A file by the path under which it was dropped into the page or chosen there, or is to be saved. */
export interface NamedFile {
  readonly path: string;
  readonly file: Blob & { readonly lastModified?: number };
}

/**
 * All that the page knows of what trains, answers and keeps files: over HTTP it is a server, in a browser alone a worker. What it refuses
 * is thrown as an `Error` whose message is for the person before the page.
 */
export interface StudioBackend {
  call<N extends CallName>(name: N, request: RequestOf<N>, signal?: AbortSignal): Promise<ReplyOf<N>>;
  /** Events as they come; leaving the loop, or aborting the signal, ends the work. */
  stream<N extends StreamName>(name: N, request: RequestOf<N>, signal?: AbortSignal): AsyncIterable<EventOf<N>>;
  /** Keeps a file of rows; the path by which routes know it. */
  upload(file: File): Promise<{ readonly path: string }>;
  /**
   * Takes the files of a model, read where they lie for as long as the page is open; the `base` to use them by. Absent where models are
   * known by their paths.
   */
  offer?(files: readonly NamedFile[]): Promise<{ readonly base: string }>;
  /** What a file or folder holds, to be saved on the disk. Absent where it is there already. */
  files?(path: string): Promise<readonly NamedFile[]>;
}
