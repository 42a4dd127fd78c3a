import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import type { ReplyOf } from "../../../src/studio/backend.js";
import { useEvery, useStudio } from "../state.js";

export type RunReply = ReplyOf<"run">;
export type Row = RunReply["metrics"][number];

/** A run as it goes on. */
export interface Live {
  readonly about: Omit<RunReply, "metrics"> | undefined;
  readonly metrics: readonly Row[];
  readonly error: string | undefined;
  again(): void;
}

export const isLive = (state: string | undefined): boolean =>
  state === "starting" || state === "running" || state === "stopping" || state === "elsewhere";

/** Follows a run: asks for what is new of it, more often while it is trained. */
export function useRun(folder: string): Live {
  const { backend } = useStudio();
  const [about, setAbout] = useState<Omit<RunReply, "metrics">>();
  const [metrics, setMetrics] = useState<readonly Row[]>([]);
  const [error, setError] = useState<string>();
  const busy = useRef(false);
  const have = useRef(0);
  const again = useCallback(async () => {
    if (busy.current) return;
    busy.current = true;
    try {
      const { metrics: more, ...rest } = await backend.call("run", { folder, after: have.current });
      have.current += more.length;
      // A run that is begun anew, or goes on from an earlier step, has fewer rows than were seen.
      if (rest.rows < have.current) {
        have.current = 0;
        setMetrics([]);
      } else if (more.length > 0) setMetrics((before) => [...before, ...more]);
      setAbout(rest);
      setError(undefined);
    } catch (failure) {
      setError((failure as Error).message);
    } finally {
      busy.current = false;
    }
  }, [backend, folder]);
  useEffect(() => void again(), [again]);
  useEvery(isLive(about?.run.state) ? 700 : 4000, true, again);
  return { about, metrics, error, again };
}
