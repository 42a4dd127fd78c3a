import { cacheGroups, type DecodeShape, lengthClass, MOST_FED, reaches } from "../models/index.js";
import { UserError } from "../tensor/index.js";
import type { ResidentAdapter } from "./adapter-stack.js";
import type { DecoderModel } from "./decode-programs.js";
import type { KvPool, Tenant } from "./kv-pool.js";

/** What a run gives: by default the logits [V] of each text's last token. */
export type Gives = Pick<DecodeShape, "wanted" | "hidden">;

/** Tokens that are fed at once, in a run of `size` tokens: no fewer. */
export interface Piece {
  readonly ids: readonly number[];
  readonly size: number;
}

/** What decodes a text: see `Decoder`. */
interface Host {
  readonly model: DecoderModel;
  readonly steps: { ask(who: Sequence, id: number): Promise<Float32Array> };
  enter(sequence: Sequence): void;
  leave(sequence: Sequence): void;
  recall(sequence: Sequence, ids: readonly number[]): number;
  feed(sequence: Sequence, pieces: readonly Piece[], gives?: Gives): Promise<Float32Array>;
}

/** Sizes of runs: a prompt is fed in the largest that is filled, its rest in the smallest that holds it. */
const RUN_SIZES = [1, 8, 32, 128, MOST_FED] as const;

/** One text being decoded: its KV cache, tied to one adapter for life, so that no cache ever serves another. */
export class Sequence implements Tenant {
  /** The tokens in the cache. */
  readonly fed: number[] = [];
  /** The most that it can ever hold. */
  readonly capacity: number;
  readonly adapter: ResidentAdapter | undefined;
  /** Where its keys and values lie; for the decoder alone. */
  pool: KvPool<Sequence> | undefined;
  row = 0;
  written = 0;
  readonly starts: number[];
  /** The tokens that it will hold after what is being fed: the positions of some models turn by how long their text is. */
  reach = 0;
  private readonly decoder: Host;
  private closed = false;

  /** `capacity`: the most tokens it can ever hold, prompt and answer. Throws UserError past the model's context. */
  constructor(decoder: Host, capacity: number, adapter?: ResidentAdapter) {
    const { config } = decoder.model;
    if (capacity > config.maxPositionEmbeddings) {
      throw new UserError(
        `${capacity} tokens (prompt and new ones) exceed the model's context of ${config.maxPositionEmbeddings}; shorten the prompt or ask for fewer`,
      );
    }
    this.decoder = decoder;
    this.adapter = adapter;
    this.capacity = capacity;
    this.starts = cacheGroups(config).map(() => 0);
    decoder.enter(this);
  }

  /**
   * Feeds tokens and returns the logits [V] after the last of them, or its hidden state [D] after the model's last norm; one token
   * alone goes together with those of other texts.
   * Throws RangeError when the cache is full.
   */
  async feed(ids: readonly number[], { hidden = false } = {}): Promise<Float32Array> {
    if (this.length + ids.length > this.capacity) {
      throw new RangeError(`the cache holds ${this.capacity} tokens and is full`);
    }
    const stale = this.isStale(this.length + ids.length);
    const due = stale ? [...this.fed.splice(0), ...ids] : ids;
    if (this.length === 0) this.starts.fill(0);
    this.reach = this.length + due.length;
    if (due.length === 1 && !hidden) return this.decoder.steps.ask(this, due[0]!);
    if (due.length === 0) throw new RangeError("feed needs at least one token");
    return this.decoder.feed(this, inPieces(due), hidden ? { hidden } : {});
  }

  /**
   * Feeds the next tokens, few at a time, of a text that will be `total` long and begins in an empty sequence. Returns the logits
   * after each of them, one behind the other [at least ids.length, V].
   */
  async score(ids: readonly number[], total: number): Promise<Float32Array> {
    if (this.length === 0) this.starts.fill(0);
    this.reach = total;
    const size = RUN_SIZES.find((s) => s >= ids.length) ?? MOST_FED;
    return this.decoder.feed(this, [{ ids, size }], { wanted: size });
  }

  /**
   * Takes over, into a sequence that is still empty, what an earlier text on the same adapter had in common with this one. Returns
   * how many tokens need not be fed; the last one always is. See `Decoder.prefixes`.
   */
  recall(ids: readonly number[]): number {
    return this.length > 0 ? 0 : this.decoder.recall(this, ids);
  }

  /** Whether what is in the cache turns otherwise than a text of `total` tokens does, or lacks what the next token sees. */
  private isStale(total: number): boolean {
    const { config } = this.decoder.model;
    if (this.length === 0) return false;
    const sees = cacheGroups(config).every((group, i) => reaches(group, this.starts[i]!, this.length));
    return !sees || lengthClass(config, this.reach) !== lengthClass(config, total);
  }

  /** Whether other texts may go on from its beginning, however long they are: not where it turned as long texts do. */
  get isPrefix(): boolean {
    return lengthClass(this.decoder.model.config, this.reach) === "short";
  }

  /** Logits of a token. */
  get vocabSize(): number {
    return this.decoder.model.config.vocabSize;
  }

  /** Tokens in the cache. */
  get length(): number {
    return this.fed.length;
  }

  /** Forgets every token from position `length` on: the cache may be shared by texts with the same beginning. */
  rewind(length: number): void {
    this.fed.length = Math.min(this.length, length);
  }

  /** For the decoder alone: a run may have written the position behind the last token. */
  touch(): void {
    this.written = Math.max(this.written, this.length + 1);
  }

  /** For the decoder alone: these tokens' positions were written. */
  grow(ids: readonly number[]): void {
    this.fed.push(...ids);
    this.written = Math.max(this.written, this.length);
  }

  dispose(): void {
    if (!this.closed) this.decoder.leave(this);
    this.closed = true;
  }
}

function inPieces(ids: readonly number[]): Piece[] {
  const pieces: Piece[] = [];
  for (let rest = ids; rest.length > 0; ) {
    const whole = RUN_SIZES.findLast((s) => s <= rest.length) ?? 1;
    const size = RUN_SIZES.find((s) => s >= rest.length && s <= 4 * rest.length) ?? whole;
    pieces.push({ ids: rest.slice(0, size), size });
    rest = rest.slice(size);
  }
  return pieces;
}
