import type { Metrics } from "../../training/metrics.js";

/** A run as a tracker shows it. */
export interface TrackedRun {
  readonly name: string;
  /** The config's keys as they are on disk. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
}

/** A run that a tracker has begun. */
export interface OpenRun {
  /** Where it can be looked at. */
  readonly address: string;
  /** Sends rows, in their order. Throws UserError when they did not arrive: they are given again then. */
  log(rows: readonly Metrics[]): Promise<void>;
  end(outcome: "finished" | "failed" | "interrupted", at: number): Promise<void>;
}

/** A variable of the environment. */
export type Variable = (name: string) => string | undefined;

/** A service that shows the metrics of runs. */
export interface Tracker {
  readonly title: string;
  /** The variables that say where it is and who sends, for the docs. */
  readonly variables: readonly string[];
  /** Begins a run there. Throws UserError when a variable is missing, or the service cannot be reached or refuses. */
  begin(run: TrackedRun, variable: Variable): Promise<OpenRun>;
}
