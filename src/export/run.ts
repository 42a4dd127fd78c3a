import type { DeviceChoice, Platform } from "../platform/platform.js";
import type { GgufWeightType } from "../tensor/codecs/quants-encode.js";
import { UserError } from "../tensor/index.js";
import { linearType } from "../weights/adapter-base.js";

import { type GateResult, probeIds } from "./gates.js";
import { choices, GREEDY_TOKENS, greedyContinuation } from "./greedy-continuation.js";
import { onnxTypeOf } from "./onnx-graph.js";
import { onnxLogits } from "./onnx-trial.js";
import { streamedLogits, type Track } from "./streamed-run.js";
import type { Subject } from "./subject.js";
import type { Written } from "./targets.js";

/** Largest drift let through, as a share of the largest logit: what storing the weights in this type can do. */
const DRIFT: Readonly<Record<string, number>> = {
  f32: 1e-3,
  f16: 2e-2,
  bf16: 1e-1,
  q8_0: 1e-1,
  q6_k: 2e-1,
  q4_k: 1,
  q4_1: 1,
  q4_0: 1,
};

/** One way of running what was exported, beside what it should compute. */
interface Trial {
  /** Said after the gates' names, where there are several. */
  readonly label?: string;
  /** How its weights are stored. */
  readonly type: string;
  /** What it computes in, or what an adapter's factors are rounded to, where that is less than f32. */
  readonly computes?: "f16" | "bf16";
  /** Positions in the streamed run. */
  readonly expected: number;
  /** The same, or what runs it alone. */
  readonly found: number | ((ids: readonly number[]) => Promise<Float32Array>);
}

export interface RunGate {
  readonly gates: readonly GateResult[];
  /** By type: why what is stored in it strays too far. */
  readonly tooCoarse: ReadonlyMap<string, string>;
}

/**
 * Base + adapter, the merged model and the export run on one prompt and base + adapter's greedy continuation of it, side by side,
 * weight after weight. Where one chooses each token of the continuation after those before it, its own greedy decoding
 * gives exactly that continuation: by induction, it chose the first after the prompt, and each next one after what it had chosen.
 * Logits are compared from the middle of the prompt on. Throws UserError when the export is not what was meant to be written.
 */
export async function runGate(
  subject: Subject,
  written: Written,
  type: GgufWeightType | undefined,
  platform: Platform,
  { device: where = "auto", threads = 0 }: Partial<DeviceChoice>,
): Promise<RunGate> {
  const { model, adapter } = subject;
  const { vocabSize, maxPositionEmbeddings: context } = model.config;
  const prompt = await probeIds(subject.speaker, Math.max(1, context - GREEDY_TOKENS + 1));
  const tracks: Track[] = [{ of: model, beside: adapter }, { of: model }, { of: model, merged: adapter }];
  const trials: Trial[] = [];
  const add = (track: Track) => tracks.push(track) - 1;
  if (written.model) {
    const { tensors } = written.model.tensors;
    const storedAs = (name: string) => tensors.get(name)!.stored;
    const expected = add({ of: model, merged: adapter, storedAs });
    trials.push({ type: type ?? linearType(written.model), expected, found: add({ of: written.model }) });
  }
  if (written.adapter) {
    const rounded = type === "f16" || type === "bf16" ? { computes: type } : {};
    trials.push({ type: type ?? "f32", ...rounded, expected: 0, found: add({ of: model, beside: written.adapter }) });
  }
  for (const type of written.onnx?.types ?? []) {
    const storedAs = (name: string) => onnxTypeOf(name, model.tensors.tensors.get(name)!.shape, type);
    const expected = add({ of: model, merged: adapter, storedAs });
    const found = (ids: readonly number[]) => onnxLogits(written.onnx!.folder, model, type, ids, platform);
    trials.push({ label: type, type, ...(type === "f16" ? { computes: type } : {}), expected, found });
  }
  const device = await platform.startDevice({ device: where, threads });
  try {
    const chosen = async (ids: readonly number[]) =>
      choices((await streamedLogits(device, tracks.slice(0, 1), ids))[0]!, vocabSize);
    const ids = [...prompt, ...(await greedyContinuation(prompt, subject.stops, chosen))];
    const greedy = ids.length - prompt.length + 1;
    // Past the first tokens, whose activations are the model's largest: rounding shows there as it does nowhere else.
    const settled = (all: Float32Array) => all.subarray(Math.floor(prompt.length / 2) * vocabSize);
    const logits = (await streamedLogits(device, tracks, ids)).map(settled);
    const [withAdapter, bare, fused] = logits as [Float32Array, Float32Array, Float32Array];
    const gates: GateResult[] = [];
    const tooCoarse = new Map<string, string>();
    for (const { expected, found, ...trial } of trials) {
      const result = typeof found === "number" ? logits[found]! : settled(await found(ids));
      const runs = { adapter: withAdapter, bare, fused, expected: logits[expected]!, found: result };
      const { verdict, why } = judge(runs, trial, greedy * vocabSize, vocabSize);
      if (why === undefined) gates.push(...verdict);
      else tooCoarse.set(trial.type, why);
    }
    return { gates, tooCoarse };
  } finally {
    await device.dispose();
  }
}

interface Runs {
  readonly adapter: Float32Array;
  readonly bare: Float32Array;
  /** The merged model in fp32. */
  readonly fused: Float32Array;
  /** What the export should compute: the merged model with weights rounded as they are stored. */
  readonly expected: Float32Array;
  readonly found: Float32Array;
}

function judge(
  { adapter, bare, fused, expected, found }: Runs,
  { type, label, computes }: Pick<Trial, "type" | "label" | "computes">,
  greedy: number,
  vocabulary: number,
): { verdict: GateResult[]; why?: string } {
  const number = (x: number) => x.toPrecision(3);
  const largest = worst(adapter);
  const effect = worst(adapter, bare);
  const fault = (what: string, difference: number, bound: number) =>
    difference <= bound
      ? undefined
      : `${what}: logits differ by ${number(difference)}, at most ${number(bound)} were expected (largest logit ${number(largest)})`;
  const check = (...claim: Parameters<typeof fault>) => {
    const why = fault(...claim);
    if (why) throw new UserError(`${why}; it was not kept`);
  };
  const drift = worst(found, adapter);
  const bound = (DRIFT[type] ?? DRIFT.q4_0!) * largest;
  check("the merged model is not base + adapter", worst(fused, adapter), DRIFT.f32! * largest);
  // Less than what the adapter changes, so that an export without it cannot pass.
  const least = Math.min(1e-3 * largest, Math.max(effect / 2, 1e-5 * largest));
  if (!computes) check("the export does not compute what was written", worst(found, expected), least);
  const why =
    fault(`${type} is too coarse for this model`, drift, bound) ??
    (computes &&
      fault(`${type} does not compute what was written`, worst(found, expected), DRIFT[computes]! * largest));
  const drowned = drift > effect ? ", which is less: take a finer type" : "";
  const same = (other: Float32Array) => agreement(other.subarray(-greedy), adapter.subarray(-greedy), vocabulary);
  const of = label ? `, ${label}` : "";
  const verdict = [
    { gate: `greedy tokens${of}`, found: `as base + adapter: merged ${same(fused)}, export ${same(found)}` },
    {
      gate: `logits${of}`,
      found: `worst difference ${number(drift)} (${type}; bound ${number(bound)}, largest logit ${number(largest)}); the adapter changes them by up to ${number(effect)}${drowned}`,
    },
  ];
  return why === undefined ? { verdict } : { verdict, why };
}

/** Largest absolute difference of two runs' logits; of one, its largest logit. NaN when either holds one. */
function worst(a: Float32Array, b?: Float32Array): number {
  let most = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i]! - (b?.[i] ?? 0));
    if (!(difference <= most)) most = difference;
  }
  return most;
}

/** "12 of 12": how often both choose the same next token. */
function agreement(a: Float32Array, b: Float32Array, vocabulary: number): string {
  const [these, those] = [choices(a, vocabulary), choices(b, vocabulary)];
  return `${these.filter((id, at) => id === those[at]).length} of ${those.length}`;
}
