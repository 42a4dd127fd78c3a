import { z } from "zod";
import { inOrder } from "../data/batches.js";
import { type Sample, together } from "../data/sample.js";
import { join } from "../formats/files.js";
import { jsonBytes } from "../formats/json.js";
import { readAdapter } from "../formats/peft/adapter.js";
import type { Platform } from "../platform/platform.js";
import { type HostTensor, UserError } from "../tensor/index.js";
import { answerOf } from "../training/objectives/sequences.js";
import type { TrainerModel } from "../training/pass-context.js";
import { Scorer } from "../training/scorer.js";
import type { References } from "../training/validation.js";
import { compareBase } from "../weights/adapter-base.js";
import type { OpenModel } from "../weights/model-folder.js";
import type { TrainConfig } from "./config-schema.js";
import { OUTPUT } from "./run-folder.js";

/** What the log-probabilities of a reference are taken from and kept for. */
export interface ReferenceOptions {
  readonly config: TrainConfig;
  readonly platform: Platform;
  readonly base: OpenModel;
  readonly model: TrainerModel;
  /** The weights that a full fine-tune starts from; the model has none of its own then. */
  readonly initial?: ReadonlyMap<string, HostTensor>;
  /** What must be the same for kept ones to be taken again. */
  readonly identity: Readonly<Record<string, unknown>>;
  readonly signal?: AbortSignal;
}

const KEPT = z.object({ identity: z.record(z.string(), z.unknown()), logps: z.array(z.number()) });
const LARGEST = 2 ** 30;

/**
 * What the reference says of every answer, computed once and kept in the run folder, so that a resumed run goes on with the same
 * numbers. Throws UserError for a reference that does not fit the base.
 */
export async function referencesOf(samples: readonly Sample[], options: ReferenceOptions): Promise<References> {
  const all = together(samples);
  const kept = await readKept(options, all.length);
  if (kept) return new Map(all.map((sample, i) => [sample, kept[i]!]));
  const found = new Map<Sample, number>();
  const { config, platform, identity, signal } = options;
  const scorer = await openReference(options);
  try {
    for (const batch of inOrder(samples, config.batchSize)) {
      signal?.throwIfAborted();
      const logps = await scorer.score(batch);
      for (const [i, sample] of batch.entries())
        found.set(sample, answerOf({ sample, logps: logps[i]!, reference: 0 }).logp);
    }
  } finally {
    await scorer.dispose();
  }
  const path = join(config.outputDir, OUTPUT.references);
  await platform.files.write(path, jsonBytes({ identity, logps: all.map((sample) => found.get(sample)) }));
  return found;
}

/** The log-probabilities that an earlier start of the same run has kept. */
async function readKept(
  { config, platform, identity }: ReferenceOptions,
  count: number,
): Promise<number[] | undefined> {
  const path = join(config.outputDir, OUTPUT.references);
  if (!(await platform.files.stat(path))) return undefined;
  const text = new TextDecoder().decode(await platform.files.read(path, LARGEST));
  const { data } = KEPT.safeParse(parsed(text));
  const isOurs = data && JSON.stringify(data.identity) === JSON.stringify(identity) && data.logps.length === count;
  return isOurs ? data.logps : undefined;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The model without its adapter, or with another. */
export async function openReference({
  config,
  platform,
  base,
  model,
  initial,
}: Omit<ReferenceOptions, "identity" | "signal">): Promise<Scorer> {
  const { reference } = config.objective;
  if (reference === "base") return new Scorer(model, initial ? { weights: initial } : {});
  const adapter = await readAdapter(platform.files, reference, base.config);
  if ((await compareBase(adapter, base)) === "different") {
    const { name = "another base" } = adapter.base;
    throw new UserError(
      `objective.reference: ${reference} was trained on ${name}, and this run's base is ${config.base}`,
      { code: "wrong_base" },
    );
  }
  return new Scorer(model, { adapter, ...(initial ? { weights: initial } : {}) });
}
