import type { Sample } from "../../data/sample.js";
import type { Adapter } from "../../formats/peft/adapter.js";
import { Decoder, type ResidentAdapter, Sequence } from "../../generation/decoder.js";
import { decodeTokens } from "../../generation/generate.js";
import type { SamplingOptions } from "../../generation/types.js";
import { uploadTensors, type View } from "../../runtime/index.js";
import type { HostTensor } from "../../tensor/index.js";
import { random } from "../../tensor/random.js";
import type { TrainerModel } from "../../training/pass-context.js";
import { onWholeBase } from "../../training/whole-base.js";
import type { Start } from "../start-values.js";
import { inParallel } from "../suite/answers.js";

/** What is trained, as it is at the moment. */
export interface Trained {
  readonly parameters: ReadonlyMap<string, View>;
  /** The same on the host. */
  values(): Promise<ReadonlyMap<string, HostTensor>>;
}

export interface SamplerOptions extends Omit<SamplingOptions, "seed" | "constraint" | "observe"> {
  /** New tokens at most. */
  readonly maxNewTokens: number;
  /** The tokens that end the answer to a prompt. */
  readonly stopsOf: (prompt: Sample) => ReadonlySet<number>;
  readonly seed: number;
}

/** A completion as tokens. */
export interface Drawn {
  /** With the token that ended it. */
  readonly ids: readonly number[];
  readonly ended: boolean;
}

/** What decodes for the moment. */
interface Voice {
  readonly decoder: Decoder;
  readonly adapter?: ResidentAdapter;
  readonly close: () => void;
}

/** Shorter prompts are read once for each completion: a cache of so few tokens is not shared. */
const SHARED = 9;

/**
 * Lets the model that is being trained answer: its base and its adapter as they lie on the device, no copy of either, over caches that are
 * there only while it answers.
 */
export class Sampler {
  private readonly model: TrainerModel;
  private readonly start: Pick<Start, "trainables" | "fixed">;
  private readonly trained: Trained;
  private readonly options: SamplerOptions;
  private decoder: Decoder | undefined;

  /** `model`: the base at a temperature of 1. */
  constructor(
    model: TrainerModel,
    start: Pick<Start, "trainables" | "fixed">,
    trained: Trained,
    options: SamplerOptions,
  ) {
    this.model = model;
    this.start = start;
    this.trained = trained;
    this.options = options;
  }

  /**
   * `generations` completions of each prompt, one behind the other, all of them one batch on the decoder. What is drawn depends on the
   * seed, the labels and a completion's place alone.
   */
  async draw(prompts: readonly Sample[], generations: number, ...labels: (string | number)[]): Promise<Drawn[]> {
    const voice = await this.open();
    const { decoder, adapter } = voice;
    try {
      decoder.prefixes.most = Number.MAX_SAFE_INTEGER;
      for (const { ids } of prompts) await read(decoder, [...ids], adapter);
      const places = prompts.flatMap((prompt) => Array.from({ length: generations }, () => prompt));
      const numbers = places.map((_, i) => i);
      const all = inParallel(numbers, places.length, (i) => this.one(voice, places[i]!, [...labels, i]));
      decoder.prefixes.most = 0; // every completion has begun, and what they end with is of no use to others
      return await all;
    } finally {
      voice.close();
    }
  }

  private async one({ decoder, adapter }: Voice, prompt: Sample, labels: readonly (string | number)[]): Promise<Drawn> {
    const { seed, stopsOf, maxNewTokens, ...sampling } = this.options;
    const room = decoder.model.config.maxPositionEmbeddings - prompt.ids.length;
    const tokens = decodeTokens(
      decoder,
      [...prompt.ids],
      {
        ...sampling,
        stopIds: stopsOf(prompt),
        maxNewTokens: Math.min(maxNewTokens, room),
        seed: random(seed, "completion", ...labels).int32() >>> 0,
      },
      adapter,
    );
    const ids: number[] = [];
    for (;;) {
      const { done, value } = await tokens.next();
      if (done) return { ids, ended: value === "stop" };
      ids.push(value);
    }
  }

  /** What is trained as the decoder takes it. Tensors change from step to step, so nothing of them is kept. */
  private async open(): Promise<Voice> {
    const { device, config } = this.model;
    const { trainables, fixed } = this.start;
    if (trainables.kind === "full") {
      const decoder = withEqualRows(new Decoder({ device, config, weights: new Map(this.trained.parameters) }));
      return { decoder, close: () => decoder.dispose() };
    }
    this.decoder ??= withEqualRows(new Decoder(this.model));
    const { decoder } = this;
    if (!fixed?.size) {
      const adapter = { config: trainables.lora, tensors: new Map(this.trained.parameters) };
      return { decoder, adapter, close: () => decoder.forget(adapter.tensors) };
    }
    const tensors = await this.trained.values();
    const whole = onWholeBase({ config: trainables.lora, tensors, base: {} } as Adapter, fixed);
    const adapter = { config: whole.config, tensors: uploadTensors(device, whole.tensors) };
    const close = () => {
      decoder.forget(adapter.tensors);
      for (const { buffer } of adapter.tensors.values()) device.free(buffer);
    };
    return { decoder, adapter, close };
  }

  dispose(): void {
    this.decoder?.dispose();
    this.decoder = undefined;
  }
}

/** A text's numbers do not depend on who else is in a step, so that the same draws are made whoever is slow. */
function withEqualRows(decoder: Decoder): Decoder {
  decoder.leastRows = 2;
  return decoder;
}

/** Has the decoder read a prompt once for all its completions. */
async function read(decoder: Decoder, ids: readonly number[], adapter: ResidentAdapter | undefined): Promise<void> {
  if (ids.length < SHARED) return;
  const sequence = new Sequence(decoder, ids.length, adapter);
  try {
    await sequence.feed(ids);
  } finally {
    sequence.dispose();
  }
}
