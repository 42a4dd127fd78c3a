import { z } from "zod";
import { inOrder } from "../data/batches.js";
import { type MicroBatch, type Sample, together } from "../data/sample.js";
import { join } from "../formats/files.js";
import { jsonBytes } from "../formats/json.js";
import { readAdapter } from "../formats/peft/adapter.js";
import type { Platform } from "../platform/platform.js";
import { type HostTensor, UserError } from "../tensor/index.js";
import type { Communicator } from "../training/communicators/communicator.js";
import { COMMUNICATORS } from "../training/communicators/index.js";
import { fromFirst, gatherValues } from "../training/communicators/values.js";
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
  /** The ranks that ask the reference, each about a part of the answers. Default: there is one. */
  readonly communicator?: Communicator;
}

const KEPT = z.object({ identity: z.record(z.string(), z.unknown()), logps: z.array(z.number()) });
const LARGEST = 2 ** 30;

/**
 * What the reference says of every answer, computed once and kept in the run folder, so that a resumed run goes on with the same
 * numbers. Throws UserError for a reference that does not fit the base.
 */
export async function referencesOf(samples: readonly Sample[], options: ReferenceOptions): Promise<References> {
  const all = together(samples);
  const { config, platform, identity, communicator = COMMUNICATORS.local() } = options;
  const kept = await fromFirst(communicator, (await readKept(options, all.length)) ?? null);
  if (kept) return new Map(all.map((sample, i) => [sample, kept[i]!]));
  const batches = inOrder(samples, config.batchSize);
  const isOwn = (_: unknown, i: number) => i % communicator.size === communicator.rank;
  const parts = await gatherValues(communicator, await asked(batches.filter(isOwn), options));
  const found = new Map(
    batches.flatMap((batch, i) => {
      const logps = parts[i % communicator.size]![Math.floor(i / communicator.size)]!;
      return batch.map((sample, j) => [sample, logps[j]!] as const);
    }),
  );
  const path = join(config.outputDir, OUTPUT.references);
  await platform.files.write(path, jsonBytes({ identity, logps: all.map((sample) => found.get(sample)) }));
  return found;
}

/** What the reference says of the answers of each batch. */
async function asked(batches: readonly MicroBatch[], options: ReferenceOptions): Promise<number[][]> {
  const found: number[][] = [];
  const scorer = await openReference(options);
  try {
    for (const batch of batches) {
      options.signal?.throwIfAborted();
      const logps = await scorer.score(batch);
      found.push(batch.map((sample, i) => answerOf({ sample, logps: logps[i]!, reference: 0 }).logp));
    }
    return found;
  } finally {
    await scorer.dispose();
  }
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
