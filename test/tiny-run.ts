import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { TrainOptions } from "../src/node/index.js";

/** The bundled model and its training rows. */
export const TINY = fileURLToPath(new URL("../models/tiny", import.meta.url));
export const TINY_ROWS = join(TINY, "data/train.jsonl");

/** Writes the first of the training rows to a file, for what need not see all 576; returns its path. */
export function firstRows(path: string, count: number): string {
  const lines = readFileSync(TINY_ROWS, "utf8").split("\n").slice(0, count);
  writeFileSync(path, `${lines.join("\n")}\n`);
  return path;
}

/** A short run on the bundled model, in one thread, at a rate that shows within a few steps. */
export function tinyRun(outputDir: string, more: Partial<TrainOptions> = {}): TrainOptions {
  return {
    base: TINY,
    outputDir,
    data: { train: TINY_ROWS, maxSeqLen: 128 },
    lora: { targetModules: "all-linear" },
    optimizer: { lr: 5e-3 },
    schedule: { name: "constant" },
    threads: 1,
    ...more,
  };
}
