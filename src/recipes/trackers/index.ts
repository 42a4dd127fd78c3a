import { mlflow } from "./mlflow.js";
import type { Tracker } from "./tracker.js";
import { wandb } from "./wandb.js";

/** Trackers by their names in `report_to`, which are transformers'. */
export const TRACKERS = { mlflow, wandb } as const satisfies Readonly<Record<string, Tracker>>;
