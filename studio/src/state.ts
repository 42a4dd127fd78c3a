import { createContext } from "preact";
import { useCallback, useContext, useEffect, useRef, useState } from "preact/hooks";
import type { CallName, ReplyOf, RequestOf, StudioBackend } from "../../src/studio/backend.js";

export type Settings = Record<string, string>;

/** What every screen works with. */
export interface Studio {
  readonly backend: StudioBackend;
  readonly about: ReplyOf<"about">;
  /** Config keys that were chosen, by their dotted names. */
  readonly settings: Settings;
  /** Chooses keys; undefined takes one back. */
  choose(changes: Readonly<Record<string, string | undefined>>): void;
}

export const StudioContext = createContext<Studio | undefined>(undefined);

export function useStudio(): Studio {
  return useContext(StudioContext)!;
}

const SAVED = "lowrank-studio-settings";

/** The settings, kept in this browser. */
export function useSettings(): [Settings, Studio["choose"]] {
  const [settings, set] = useState<Settings>(() => {
    try {
      return JSON.parse(localStorage.getItem(SAVED) ?? "{}") as Settings;
    } catch {
      return {};
    }
  });
  const choose = useCallback((changes: Readonly<Record<string, string | undefined>>) => {
    set((before) => {
      const all = { ...before, ...changes };
      const after = Object.fromEntries(Object.entries(all).filter((entry): entry is [string, string] => !!entry[1]));
      localStorage.setItem(SAVED, JSON.stringify(after));
      return after;
    });
  }, []);
  return [settings, choose];
}

/** Where the page is: the words behind `#/`. */
export function usePlace(): string[] {
  const read = () => location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  const [place, set] = useState(read);
  useEffect(() => {
    const changed = () => set(read());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return place;
}

/** The address of a place of the page. */
export const at = (...words: readonly string[]): string => `#/${words.map(encodeURIComponent).join("/")}`;

export interface Asked<T> {
  readonly reply: T | undefined;
  readonly error: string | undefined;
  readonly busy: boolean;
  again(): void;
}

/** What a call replies, asked again when the request changes; undefined is not asked. `wait`: milliseconds in which it may still change. */
export function useCall<N extends CallName>(
  name: N,
  request: RequestOf<N> | undefined,
  { wait = 0 }: { readonly wait?: number } = {},
): Asked<ReplyOf<N>> {
  const { backend } = useStudio();
  const [state, set] = useState<Omit<Asked<ReplyOf<N>>, "again">>({ reply: undefined, error: undefined, busy: false });
  const [turn, setTurn] = useState(0);
  const key = request === undefined ? undefined : JSON.stringify(request);
  useEffect(() => {
    if (request === undefined) return set({ reply: undefined, error: undefined, busy: false });
    const control = new AbortController();
    set((before) => ({ ...before, busy: true }));
    const timer = setTimeout(async () => {
      try {
        const reply = await backend.call(name, request, control.signal);
        if (!control.signal.aborted) set({ reply, error: undefined, busy: false });
      } catch (error) {
        if (!control.signal.aborted) set({ reply: undefined, error: (error as Error).message, busy: false });
      }
    }, wait);
    return () => {
      control.abort();
      clearTimeout(timer);
    };
  }, [backend, name, key, turn]);
  return { ...state, again: () => setTurn((n) => n + 1) };
}

/** Something that a button does: whether it goes on, and why it failed. */
export function useAction<A extends unknown[]>(act: (...args: A) => Promise<void>) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string>();
  const latest = useRef(act);
  latest.current = act;
  const run = useCallback(async (...args: A) => {
    setBusy(true);
    setError(undefined);
    try {
      await latest.current(...args);
    } catch (failure) {
      if ((failure as Error).name !== "AbortError") setError((failure as Error).message);
    } finally {
      setBusy(false);
    }
  }, []);
  return { run, busy, error };
}

/** Calls again and again while `active`. */
export function useEvery(milliseconds: number, active: boolean, act: () => void): void {
  const latest = useRef(act);
  latest.current = act;
  useEffect(() => {
    if (!active) return;
    const timer = setInterval(() => latest.current(), milliseconds);
    return () => clearInterval(timer);
  }, [milliseconds, active]);
}
