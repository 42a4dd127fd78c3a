import type { MicroBatch, Sample } from "../data/sample.js";
import type { TrainerModel } from "./pass-context.js";
import { Scorer } from "./scorer.js";

/** Whether a micro-batch is of texts that are to stay as the base has them. */
export const isKept = (batch: MicroBatch): boolean => batch[0]?.side === "kept";

/**
 * What the base, which is the model without its adapter, makes of kept texts: its last stream, out of which the head makes the whole
 * distribution. Found once for each text, when it is first asked for, and alone, so that it is the same in a resumed run.
 */
export class KeptTexts {
  private readonly base: Scorer;
  private readonly found = new Map<Sample, Float32Array>();

  constructor(model: TrainerModel) {
    this.base = new Scorer(model);
  }

  /** The base's stream at the positions that predict a micro-batch's targets [targets, D]. */
  async streams(batch: MicroBatch): Promise<Float32Array> {
    const parts: Float32Array[] = [];
    for (const sample of batch) parts.push(await this.stream(sample));
    const all = new Float32Array(parts.reduce((n, { length }) => n + length, 0));
    let start = 0;
    for (const part of parts) {
      all.set(part, start);
      start += part.length;
    }
    return all;
  }

  private async stream(sample: Sample): Promise<Float32Array> {
    const known = this.found.get(sample);
    if (known) return known;
    const stream = await this.base.stream(sample);
    this.found.set(sample, stream);
    return stream;
  }

  dispose(): Promise<void> {
    return this.base.dispose();
  }
}
