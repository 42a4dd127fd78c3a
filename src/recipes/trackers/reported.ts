import type { Platform } from "../../platform/platform.js";
import { UserError } from "../../tensor/index.js";
import type { Metrics } from "../../training/metrics.js";
import type { TrainConfig } from "../config-schema.js";
import { note, type TrainEvent, type TrainResult } from "../events.js";
import { snakeKeys } from "../names.js";
import { TRACKERS } from "./index.js";
import type { OpenRun, Tracker } from "./tracker.js";

type Training = AsyncGenerator<TrainEvent, TrainResult>;

/** Rows are sent when so many wait, or the oldest of them for so long. */
const [MOST_ROWS, LONGEST_MS] = [50, 5000];

/** A run that a tracker has begun, and how many of the rows it has. */
interface Reporting {
  readonly title: string;
  readonly run: OpenRun;
  sent: number;
  lost: boolean;
}

/**
 * A training run whose metrics go to the trackers of `report_to` as well; without any it is the run alone. A tracker that
 * cannot be reached at the start ends the run before anything is computed; one that is lost later is noted once, is tried again,
 * and never ends it. Throws UserError.
 */
export async function* reported(
  run: Training,
  config: TrainConfig,
  platform: Platform,
  more: readonly Tracker[] = [],
): Training {
  const trackers = [...config.reportTo.map((name): Tracker => TRACKERS[name]), ...more];
  if (trackers.length === 0) return yield* run;
  const open = await begin(trackers, config, platform);
  for (const { title, run: begun } of open) yield note(`${title}: ${begun.address}`);
  const rows: Metrics[] = [];
  let last = platform.now();
  let outcome: Parameters<OpenRun["end"]>[0] = "interrupted";
  try {
    for (;;) {
      const { done, value } = await run.next();
      if (done) {
        outcome = value.interrupted ? "interrupted" : "finished";
        return value;
      }
      yield value;
      if (value.type !== "step" && value.type !== "eval") continue;
      rows.push(value.metrics);
      if (rows.length % MOST_ROWS > 0 && platform.now() - last < LONGEST_MS) continue;
      last = platform.now();
      for (const message of await send(open, rows)) yield note(message);
    }
  } catch (error) {
    outcome = "failed";
    throw error;
  } finally {
    await run.return(undefined as never);
    await send(open, rows);
    await Promise.allSettled(open.map(({ run: begun }) => begun.end(outcome, platform.now())));
  }
}

async function begin(trackers: readonly Tracker[], config: TrainConfig, platform: Platform): Promise<Reporting[]> {
  const variable = (name: string) => platform.variable?.(name);
  const { outputDir } = config;
  const name = outputDir.split(/[\\/]/).filter(Boolean).at(-1) ?? outputDir;
  const shown = { name, config: flat(snakeKeys(config)), startedAt: platform.now() };
  const open: Reporting[] = [];
  for (const tracker of trackers) {
    open.push({ title: tracker.title, run: await tracker.begin(shown, variable), sent: 0, lost: false });
  }
  return open;
}

/** `{lora: {r: 8}}` as `{"lora.r": 8}`; lists stay as they are. */
function flat(value: unknown, before = ""): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return { [before]: value };
  const parts = Object.entries(value).map(([key, one]) => flat(one, before === "" ? key : `${before}.${key}`));
  return Object.assign({}, ...parts);
}

/** Sends each tracker what it has not; says of those that are lost, once. */
async function send(open: readonly Reporting[], rows: readonly Metrics[]): Promise<string[]> {
  const notes: string[] = [];
  for (const one of open) {
    if (one.sent === rows.length) continue;
    try {
      await one.run.log(rows.slice(one.sent));
      one.sent = rows.length;
      one.lost = false;
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      if (!one.lost) notes.push(`${error.message}; training goes on, and metrics.jsonl has every row`);
      one.lost = true;
    }
  }
  return notes;
}
