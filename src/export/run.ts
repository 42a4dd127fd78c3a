import type { DeviceChoice, Platform } from "../platform/platform.js";
import type { Device } from "../runtime/index.js";
import { type GateResult, probeIds } from "./gates.js";
import { choices, GREEDY_TOKENS, greedyContinuation } from "./greedy-continuation.js";
import { StreamedRun, streamedLogits, type Track } from "./streamed-run.js";
import type { Subject } from "./subject.js";
import type { Trial } from "./trials.js";
import { judge, type LogitReport } from "./verdict.js";

export interface RunGate {
  readonly gates: readonly GateResult[];
  readonly logits: readonly LogitReport[];
  /** Trials whose type strays too far, and why that is said. */
  readonly tooCoarse: ReadonlyMap<Trial, string>;
}

/**
 * Base + adapter, the merged model and the export run on one prompt and base + adapter's greedy continuation of it, side by side,
 * weight after weight; of a model without an adapter it and its export. Where one chooses each token of the continuation after those before it, its own greedy decoding
 * gives exactly that continuation: by induction, it chose the first after the prompt, and each next one after what it had chosen.
 * Logits are compared from the middle of the prompt on. Throws UserError when the export is not what was meant to be written.
 */
export async function runGate(
  { model, adapter, speaker, stops }: Subject,
  trials: readonly Trial[],
  platform: Platform,
  { device: where = "auto", threads = 0 }: Partial<DeviceChoice>,
): Promise<RunGate> {
  const { vocabSize: vocabulary, maxPositionEmbeddings: context } = model.config;
  const prompt = await probeIds(speaker, Math.max(1, context - GREEDY_TOKENS + 1));
  const trained: Track = { of: model, beside: adapter };
  const [bare, fused] = adapter ? [{ of: model }, { of: model, merged: adapter }] : [undefined, trained];
  const tracks: Track[] = [...new Set([trained, ...(bare ? [bare] : []), fused]), ...trials.flatMap(tracksOf)];
  const device = await platform.startDevice({ device: where, threads });
  try {
    const ids = [...prompt, ...(await continued(device, trained, prompt, stops))];
    const logits = await streamedLogits(device, tracks, ids);
    // Past the first tokens, whose activations are the model's largest: rounding shows there as it does nowhere else.
    const settled = (all: Float32Array) => all.subarray(Math.floor(prompt.length / 2) * vocabulary);
    const of = (track: Track) => settled(logits[tracks.indexOf(track)]!);
    const greedy = (ids.length - prompt.length + 1) * vocabulary;
    const same = { adapter: of(trained), bare: bare && of(bare), fused: of(fused), greedy, vocabulary };
    const verdicts = [];
    for (const trial of trials) {
      const { expected = trained, found } = trial;
      const result = typeof found === "function" ? settled(await found(ids, platform)) : of(found);
      verdicts.push({ trial, ...judge({ ...same, expected: of(expected), found: result }, trial) });
    }
    const kept = verdicts.filter(({ tooCoarse }) => tooCoarse === undefined);
    return {
      gates: kept.flatMap(({ gates }) => gates),
      logits: kept.map(({ logits }) => logits),
      tooCoarse: new Map(verdicts.flatMap(({ trial, tooCoarse }) => (tooCoarse ? [[trial, tooCoarse]] : []))),
    };
  } finally {
    await device.dispose();
  }
}

/** What base + adapter chooses behind a prompt, which is run once. */
async function continued(
  device: Device,
  trained: Track,
  prompt: readonly number[],
  stops: ReadonlySet<number>,
): Promise<number[]> {
  const run = new StreamedRun(device, [trained]);
  const [first, last] = [prompt.length - 1, prompt.at(-1)!];
  let known = 0;
  try {
    return await greedyContinuation(last, stops, async (guess) => {
      const asked = known === 0 ? [...prompt, ...guess] : [last, ...guess];
      const [logits] = await run.logits(asked, { first: known, rows: guess.length + 1 });
      known = first;
      return choices(logits!, trained.of.config.vocabSize);
    });
  } finally {
    run.dispose();
  }
}

const tracksOf = ({ expected, found }: Trial): Track[] => [
  ...(expected ? [expected] : []),
  ...(typeof found === "function" ? [] : [found]),
];
