// What tests look at in the folder of a run, and how they stop one.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { loraFinetune, type TrainOptions } from "../../src/node/index.js";

/** The trained adapter, byte for byte. */
export const adapterBytes = (run: string): Buffer => readFileSync(join(run, "adapter/adapter_model.safetensors"));

/** The metrics, line by line, without what a clock or the system measured. */
export function metricsOf(run: string): Record<string, number>[] {
  const lines = readFileSync(join(run, "metrics.jsonl"), "utf8").trim().split("\n");
  return lines.map((line) => {
    const { tokens_per_second: _, peak_memory_bytes: __, elapsed_seconds: ___, ...row } = JSON.parse(line);
    return row as Record<string, number>;
  });
}

/** Trains until a step is done, and stops then as Ctrl-C does. */
export async function stoppedAfter(step: number, options: TrainOptions, more: object = {}): Promise<void> {
  const control = new AbortController();
  for await (const event of loraFinetune(options, { signal: control.signal, ...more }))
    if (event.type === "step" && event.metrics.step === step) control.abort();
}
