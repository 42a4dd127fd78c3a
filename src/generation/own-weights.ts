import { asAdapted, EMBEDDING, HEAD, holdsWhole, type LoraConfig, savedWeights, TOKEN_ROWS } from "../models/index.js";
import { putRows, tensor, type View } from "../runtime/index.js";
import { DecodePrograms, type DecoderModel } from "./decode-programs.js";

/** An adapter as far as it matters which weights its texts run on. */
interface Adapted {
  readonly config: LoraConfig;
  readonly tensors: ReadonlyMap<string, View>;
}

/** The runs of an adapter with weights of its own, and memory that goes with them. */
interface Own {
  readonly programs: DecodePrograms;
  readonly table: View | undefined;
}

/**
 * The runs of a base, and those of every adapter that holds whole weights: such an adapter's texts are decoded on a model that has
 * them in the base's place, so in runs of their own, while all others share the base's.
 */
export class OwnWeights {
  private readonly model: DecoderModel;
  private readonly shared: DecodePrograms;
  private readonly own = new Map<Adapted["tensors"], Own>();

  constructor(model: DecoderModel) {
    this.model = model;
    this.shared = new DecodePrograms(model);
  }

  /** Tells apart adapters whose texts cannot be in one run; undefined: the base's weights will do. */
  keyOf(adapter: Adapted | undefined): Adapted["tensors"] | undefined {
    return adapter && holdsWhole(adapter.config) ? adapter.tensors : undefined;
  }

  programsOf(adapter: Adapted | undefined): DecodePrograms {
    const key = this.keyOf(adapter);
    if (!key) return this.shared;
    let own = this.own.get(key);
    if (!own) this.own.set(key, (own = this.make(adapter!)));
    return own.programs;
  }

  private make({ config: lora, tensors }: Adapted): Own {
    const { config, device } = this.model;
    const weights = new Map(this.model.weights);
    for (const name of savedWeights(lora, config).keys()) weights.set(name, tensors.get(name)!);
    const { trainableTokenIndices: tokens } = lora;
    const embedding = weights.get(EMBEDDING); // not there in the middle of a pipeline
    const table = tokens && embedding && tensor(device, "f32", [config.vocabSize, config.hiddenSize]);
    if (tokens && embedding && table) {
      device.copy(embedding, table);
      putRows(device, tensors.get(TOKEN_ROWS)!, tokens, table);
      weights.set(EMBEDDING, table);
    }
    const adapted = asAdapted(config, lora);
    // Where only the embedding was trained, a head that was tied to it is the base's.
    if (adapted !== config) weights.set(HEAD, tensors.get(HEAD) ?? this.model.weights.get(EMBEDDING)!);
    return { programs: new DecodePrograms({ ...this.model, config: adapted, weights }), table };
  }

  /** An adapter is unloaded. */
  forget(tensors: Adapted["tensors"]): void {
    const own = this.own.get(tensors);
    if (!own) return;
    own.programs.clear();
    if (own.table) this.model.device.free(own.table.buffer);
    this.own.delete(tensors);
  }

  /** The base's weights have other values: all that was made of them goes. */
  clear(): void {
    this.shared.clear();
    for (const tensors of [...this.own.keys()]) this.forget(tensors);
  }
}
