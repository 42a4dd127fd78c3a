import type { Costs } from "./terms.js";

/** An added token is one symbol: this plus its id. */
export const ADDED = 256;

/** What a vocabulary writes, in an order that shares beginnings. */
export interface Vocabulary extends Costs {
  readonly size: number;
  /** The symbols of a token: its bytes, or one symbol for an added token; undefined for one that writes nothing. */
  symbols(id: number): Uint8Array | readonly number[] | undefined;
  readonly added: readonly number[];
  /**
   * A tree of all tokens by their bytes, each node before its children: `byte` leads to node i, which lies `depth` deep (from
   * 0); `skip` is the first node that is not below it. Tokens that end at node i are ids[ends[i]] to ids[ends[i + 1] - 1].
   */
  readonly byte: Uint8Array;
  readonly depth: Uint16Array;
  readonly skip: Int32Array;
  readonly ends: Int32Array;
  readonly ids: Int32Array;
}

/** `bytesOf`: the bytes of a token that is not an added one; none for an id that writes nothing. */
export function createVocabulary(
  size: number,
  added: ReadonlySet<number>,
  bytesOf: (id: number) => Uint8Array,
): Vocabulary {
  const bytes = Array.from({ length: size }, (_, id) => (added.has(id) ? new Uint8Array() : bytesOf(id)));
  const tree = treeOf(bytes);
  const alone = new Uint8Array(ADDED);
  for (const one of bytes) if (one.length === 1) alone[one[0]!] = 1;
  return {
    size,
    symbols: (id) => (added.has(id) ? [ADDED + id] : bytes[id]?.length ? bytes[id] : undefined),
    added: [...added],
    ...tree,
    alone: (symbol) => symbol >= ADDED || alone[symbol] === 1,
    ofText(text) {
      const costs = new Array<number>(text.length + 1).fill(Number.POSITIVE_INFINITY);
      costs[text.length] = 0;
      for (let at = text.length - 1; at >= 0; at--) {
        for (const length of lengthsAt(tree, text, at)) costs[at] = Math.min(costs[at]!, 1 + costs[at + length]!);
      }
      return costs;
    },
  };
}

type Tree = Pick<Vocabulary, "byte" | "depth" | "skip" | "ends" | "ids">;

function treeOf(bytes: readonly Uint8Array[]): Tree {
  const order = bytes.flatMap((one, id) => (one.length > 0 ? [id] : []));
  order.sort((a, b) => compare(bytes[a]!, bytes[b]!) || a - b);
  const [byte, depth, ends, skip]: [number[], number[], number[], number[]] = [[], [], [], []];
  const path: number[] = [];
  let previous = new Uint8Array();
  for (const [at, id] of order.entries()) {
    const own = bytes[id]!;
    let same = 0;
    while (same < previous.length && previous[same] === own[same]) same++;
    for (const node of path.splice(same)) skip[node] = byte.length;
    for (let deep = same; deep < own.length; deep++) {
      path.push(byte.length);
      byte.push(own[deep]!);
      depth.push(deep);
      ends.push(at);
    }
    previous = own as Uint8Array<ArrayBuffer>;
  }
  for (const node of path) skip[node] = byte.length;
  ends.push(order.length);
  return {
    byte: Uint8Array.from(byte),
    depth: Uint16Array.from(depth),
    skip: Int32Array.from(skip),
    ends: Int32Array.from(ends),
    ids: Int32Array.from(order),
  };
}

function compare(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < a.length && i < b.length; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return a.length - b.length;
}

/** Lengths of the tokens that stand in `text` at a byte. */
function* lengthsAt({ byte, skip, ends, depth }: Tree, text: Uint8Array, at: number): Generator<number> {
  let node = 0;
  let end = byte.length;
  for (let deep = 0; at + deep < text.length; deep++) {
    while (node < end && byte[node] !== text[at + deep]) node = skip[node]!;
    if (node >= end || depth[node] !== deep) return;
    if (ends[node + 1]! > ends[node]!) yield deep + 1;
    end = skip[node]!;
    node++;
  }
}
