import { UserError } from "../tensor/index.js";
import { shownToken } from "./bpe-json.js";

/** The symbols of a word: their ids and the code units [from, to) of the word that each covers. */
export interface Symbols {
  ids: number[];
  from: number[];
  to: number[];
}

export interface MergeTable {
  /** Code units of the longest token. */
  readonly longest: number;
  /** Merges the symbols of a word in place; yields every few thousand merges. */
  merge(symbols: Symbols): Generator<undefined, void>;
}

/** Room for a position in a number beside a rank: 2^31 times 2^22 ranks is below 2^53. */
const POSITIONS = 2 ** 31;
const MOST_MERGES = 2 ** 22;
/** Symbols or merges between two yields. */
const STRIDE = 8192;

/** Throws UserError for a merge of or into a token that is not in the vocabulary. */
export function mergeTable(
  vocab: ReadonlyMap<string, number>,
  merges: readonly (readonly [string, string])[],
): MergeTable {
  if (merges.length > MOST_MERGES) throw new UserError(`tokenizer.json: ${merges.length} merges are too many`);
  const idOf = (token: string, rank: number): number => {
    const id = vocab.get(token);
    if (id !== undefined) return id;
    const shown = JSON.stringify(merges[rank]).slice(0, 100);
    throw new UserError(
      `tokenizer.json: model.merges[${rank}] ${shown} needs the token ${shownToken(token)}, which is not in model.vocab`,
    );
  };
  const pairs = new PairTable(merges.length);
  merges.forEach(([left, right], rank) => {
    pairs.set(idOf(left, rank), idOf(right, rank), rank, idOf(left + right, rank));
  });
  let longest = 0;
  for (const token of vocab.keys()) longest = Math.max(longest, token.length);
  return { longest, merge: (symbols) => mergeAll(symbols, pairs) };
}

function* mergeAll(symbols: Symbols, pairs: PairTable): Generator<undefined, void> {
  const { ids, from, to } = symbols;
  const count = ids.length;
  const next = new Int32Array(count).map((_, i) => i + 1);
  const previous = new Int32Array(count).map((_, i) => i - 1);
  const queue: number[] = [];
  const offer = (at: number) => {
    if (at < 0 || next[at]! >= count) return;
    const pair = pairs.find(ids[at]!, ids[next[at]!]!);
    if (pair >= 0) push(queue, pairs.ranks[pair]! * POSITIONS + at);
  };
  for (let i = 0; i < count - 1; i++) {
    offer(i);
    if (i % STRIDE === STRIDE - 1) yield;
  }
  for (let merged = 1; queue.length > 0; ) {
    const key = pop(queue);
    const rank = Math.floor(key / POSITIONS);
    const at = key - rank * POSITIONS;
    const right = next[at]!;
    if (ids[at] === GONE || right >= count) continue;
    const pair = pairs.find(ids[at]!, ids[right]!);
    if (pair < 0 || pairs.ranks[pair] !== rank) continue; // one of the two was merged with another since
    ids[at] = pairs.made[pair]!;
    to[at] = to[right]!;
    ids[right] = GONE;
    const behind = next[right]!;
    next[at] = behind;
    if (behind < count) previous[behind] = at;
    offer(previous[at]!);
    offer(at);
    if (merged++ % STRIDE === 0) yield;
  }
  let kept = 0;
  for (let i = 0; i < count; i = next[i]!, kept++) {
    ids[kept] = ids[i]!;
    from[kept] = from[i]!;
    to[kept] = to[i]!;
    if (kept % STRIDE === STRIDE - 1) yield;
  }
  for (const list of [ids, from, to]) list.length = kept;
}

const GONE = -1;

/** Pairs of ids -> rank and the id of both together, in open addressing. */
class PairTable {
  readonly ranks: Int32Array;
  readonly made: Int32Array;
  private readonly lefts: Int32Array;
  private readonly rights: Int32Array;
  private readonly mask: number;

  constructor(count: number) {
    const size = 2 ** Math.ceil(Math.log2(Math.max(8, 2 * count)));
    this.mask = size - 1;
    this.lefts = new Int32Array(size).fill(GONE);
    this.rights = new Int32Array(size);
    this.ranks = new Int32Array(size);
    this.made = new Int32Array(size);
  }

  /** The slot of a pair, below 0 where there is none. */
  find(left: number, right: number): number {
    const slot = this.slot(left, right);
    return this.lefts[slot] === GONE ? -1 : slot;
  }

  /** Of a pair that is given twice the last counts. */
  set(left: number, right: number, rank: number, made: number): void {
    const slot = this.slot(left, right);
    this.lefts[slot] = left;
    this.rights[slot] = right;
    this.ranks[slot] = rank;
    this.made[slot] = made;
  }

  private slot(left: number, right: number): number {
    let hash = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca77);
    hash ^= hash >>> 15;
    let slot = hash & this.mask;
    while (this.lefts[slot] !== GONE && (this.lefts[slot] !== left || this.rights[slot] !== right)) {
      slot = (slot + 1) & this.mask;
    }
    return slot;
  }
}

/** Adds to a queue whose smallest entry is first. */
function push(queue: number[], key: number): void {
  let at = queue.push(key) - 1;
  while (at > 0) {
    const above = (at - 1) >> 1;
    if (queue[above]! <= key) break;
    queue[at] = queue[above]!;
    at = above;
  }
  queue[at] = key;
}

/** Takes the smallest entry out. */
function pop(queue: number[]): number {
  const first = queue[0]!;
  const key = queue.pop()!;
  const count = queue.length;
  if (count === 0) return first;
  let at = 0;
  for (let below = 1; below < count; below = 2 * at + 1) {
    if (below + 1 < count && queue[below + 1]! < queue[below]!) below++;
    if (queue[below]! >= key) break;
    queue[at] = queue[below]!;
    at = below;
  }
  queue[at] = key;
  return first;
}
