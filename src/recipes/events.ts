import type { EvalMetrics, StepMetrics } from "../training/metrics.js";

/** What a training run says while it goes on, in order. */
export type TrainEvent =
  /** Something worth knowing: what was read, what was dropped, what was passed over. */
  | { readonly type: "note"; readonly message: string }
  /** A large base is being read. */
  | { readonly type: "loading"; readonly bytes: number; readonly totalBytes: number }
  | {
      readonly type: "start";
      /** Steps done before (0, or those of the checkpoint that is resumed from) and in all. */
      readonly step: number;
      readonly totalSteps: number;
      readonly trainableParameters: number;
      readonly totalParameters: number;
    }
  | { readonly type: "step"; readonly metrics: StepMetrics; readonly totalSteps: number }
  /** `what` was not finite: nothing was updated. `rows` are the row numbers of the step, from 0. */
  | {
      readonly type: "skipped";
      readonly step: number;
      readonly what: "loss" | "gradient";
      readonly rows: readonly number[];
    }
  | { readonly type: "eval"; readonly metrics: EvalMetrics; readonly best: boolean }
  /** What base and adapter answer to the prompts of `samples`, after a step. */
  | { readonly type: "samples"; readonly step: number; readonly samples: readonly SampleAnswers[] }
  | { readonly type: "checkpoint"; readonly step: number; readonly path: string }
  | { readonly type: "end"; readonly result: TrainResult };

/** Something worth knowing, as an event. */
export const note = (message: string): TrainEvent => ({ type: "note", message });

/** What base and adapter answer to a prompt. */
export interface SampleAnswers {
  readonly prompt: string;
  readonly base: string;
  readonly adapter: string;
}

export interface TrainResult {
  readonly outputDir: string;
  /** The adapter's folder (the model's, in a full fine-tune); undefined when the run was interrupted. */
  readonly adapter?: string;
  readonly step: number;
  readonly totalSteps: number;
  /** True when the run was stopped by its signal; it has a checkpoint and can be resumed. */
  readonly interrupted: boolean;
  /** True when `earlyStoppingPatience` ended the run before its last step. Default false. */
  readonly stoppedEarly?: boolean;
  /** Training loss of the last step. */
  readonly loss?: number;
  /** Of the last evaluation, and the lowest. */
  readonly evalLoss?: number;
  readonly bestEvalLoss?: number;
  /** The best evaluation: its figure, as metrics.jsonl names it, and its step. With `loadBestModelAtEnd` it is what `adapter` holds. */
  readonly best?: { readonly name: string; readonly value: number; readonly step: number | null };
}

/** A run: events as they come, or just the result. */
export interface Run<E, R> extends AsyncIterable<E> {
  /** The result; when nobody iterates over the events, this is what drives the run. */
  result(): Promise<R>;
}

/** Makes a run of a generator whose return value is the result. The generator starts with the first event asked for. */
export function asRun<E, R>(generator: AsyncGenerator<E, R>): Run<E, R> {
  let iterated = false;
  let settle: { resolve: (result: R) => void; reject: (error: unknown) => void };
  const settled = new Promise<R>((resolve, reject) => {
    settle = { resolve, reject };
  });
  settled.catch(() => undefined);
  async function* events(): AsyncGenerator<E, void> {
    iterated = true;
    try {
      let next = await generator.next();
      for (; !next.done; next = await generator.next()) yield next.value;
      settle.resolve(next.value);
    } catch (error) {
      settle.reject(error);
      throw error;
    } finally {
      settle.reject(new Error("the run was left before its end"));
      await generator.return(undefined as R);
    }
  }
  return {
    [Symbol.asyncIterator]: events,
    async result() {
      if (!iterated) for await (const _ of events());
      return settled;
    },
  };
}
