import type { Loading } from "../weights/counted.js";
import type { Io } from "./io.js";
import { cutTo, visible, widthOf } from "./visible.js";

/** One status line: redrawn in place on a terminal, else a plain line at most every `everySeconds`. */
export interface StatusLine {
  /** Text, or its parts in order, of which those that matter least are left out where the terminal is too narrow. */
  update(text: string | readonly StatusPart[]): void;
  /** Prints a line above the status. */
  note(text: string): void;
  /** Leaves the last status standing. */
  end(): void;
}

export interface StatusPart {
  readonly text: string;
  /** 0 is never left out; the higher, the sooner. */
  readonly spare: number;
}

export function statusLine(io: Io, everySeconds = 5): StatusLine {
  return io.interactive ? redrawnLine(io) : plainLines(io, everySeconds);
}

function plainLines(io: Io, everySeconds: number): StatusLine {
  let current = "";
  let printed = Number.NEGATIVE_INFINITY;
  const end = () => {
    if (current) io.err(`${current}\n`);
    current = "";
  };
  return {
    update(text) {
      current = fitted(text, Number.POSITIVE_INFINITY);
      if (performance.now() - printed < everySeconds * 1000) return;
      printed = performance.now();
      end();
    },
    note: (text) => io.err(`${text}\n`),
    end,
  };
}

function redrawnLine(io: Io): StatusLine {
  const clear = "\r\u001b[2K";
  const write = (io.raw ?? io).err;
  let current: string | readonly StatusPart[] = "";
  let printed = Number.NEGATIVE_INFINITY;
  const line = () => fitted(current, io.columns - 1);
  return {
    update(text) {
      current = text;
      if (performance.now() - printed < 50) return;
      printed = performance.now();
      write(clear + line());
    },
    note(text) {
      write(`${clear}${visible(text)}\n${line()}`);
    },
    end() {
      if (current) write(`${clear}${line()}\n`);
      current = "";
    },
  };
}

/** A status in at most so many columns: it must not wrap, or the next one could not be drawn over it. */
export function fitted(status: string | readonly StatusPart[], columns: number): string {
  if (typeof status === "string") return cutTo(visible(status), columns);
  const text = status.map((part) => part.text).join("  ");
  const least = Math.max(...status.map(({ spare }) => spare));
  if (widthOf(text) <= columns || least === 0) return cutTo(visible(text), columns);
  return fitted(
    status.filter(({ spare }) => spare < least),
    columns,
  );
}

/** `[######------]` */
export function bar(share: number, width: number): string {
  const full = Math.round(Math.min(1, Math.max(0, share)) * width);
  return `[${"#".repeat(full)}${"-".repeat(width - full)}]`;
}

/** `1.5 GB`, `320 MB` */
export function sizeText(bytes: number): string {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(2)} GB`;
  return bytes >= 1e6 ? `${Math.round(bytes / 1e6)} MB` : `${Math.ceil(bytes / 1e3)} kB`;
}

/** `1:02:03`, `4:05` */
export function timeText(seconds: number): string {
  if (!Number.isFinite(seconds)) return "?";
  const s = Math.round(seconds);
  const [h, m] = [Math.floor(s / 3600), Math.floor((s % 3600) / 60)];
  const two = (n: number) => String(n).padStart(2, "0");
  return h > 0 ? `${h}:${two(m)}:${two(s % 60)}` : `${m}:${two(s % 60)}`;
}

/** `loading the base: 1.20 GB of 13.50 GB` */
export function loadingText({ bytes, totalBytes }: Loading): string {
  return `loading the base: ${sizeText(bytes)} of ${sizeText(totalBytes)}`;
}

/** Shows how far a model is loaded, once that takes longer than a second. */
export function loadingLine(io: Io): (loading: Loading) => void {
  const began = performance.now();
  const status = statusLine(io);
  return (loading) => {
    if (performance.now() - began < 1000) return;
    status.update(loadingText(loading));
    if (loading.bytes === loading.totalBytes) status.end();
  };
}
