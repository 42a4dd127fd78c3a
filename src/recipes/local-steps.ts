import { random, UserError } from "../tensor/index.js";
import type { Communicator } from "../training/communicators/communicator.js";
import { LocalSteps } from "../training/local-steps.js";
import type { Trainer } from "../training/trainer.js";
import type { TrainConfig } from "./config-schema.js";

/** What a rank's own trainer is made with. Where ranks step apart, each draws dropout and noise of its own. */
export function rankOptions({ communicator: { localSteps }, seed }: TrainConfig, { rank }: Communicator) {
  if (localSteps === null) return { seed };
  return { seed: rank === 0 ? seed : random(seed, "rank", rank).below(2 ** 32), stepsAlone: true };
}

/** The trainer of a run: a rank's own, or with local steps one that agrees with others' now and then. */
export function withLocalSteps(own: Trainer, config: TrainConfig, communicator: Communicator): Trainer {
  const { localSteps, outerLr, outerMomentum } = config.communicator;
  return localSteps === null ? own : new LocalSteps(own, { communicator, outerLr, outerMomentum });
}

/** What a checkpoint belongs to beside its settings: with local steps it has each rank's optimiser. */
export const ranksIdentity = ({ communicator: { localSteps } }: TrainConfig, { size }: Communicator) =>
  localSteps === null ? {} : { ranks: size };

/** Throws UserError where a step has no row for some rank. */
export function refuseIdleRanks(config: TrainConfig, { size }: Communicator): void {
  const rows = config.batchSize * config.gradientAccumulationSteps;
  if (config.communicator.localSteps === null || rows >= size) return;
  throw new UserError(
    `communicator.local_steps: each of ${size} ranks steps by rows of its own, and a step has ${rows} (batch_size x gradient_accumulation_steps); raise one of them, or start fewer ranks`,
  );
}
