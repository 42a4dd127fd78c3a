import { UserError } from "../../tensor/index.js";
import { Lru } from "../../tensor/lru.js";
import type { TokenConstraint } from "../types.js";
import type { Term, Terms } from "./terms.js";
import { ADDED, type Vocabulary } from "./vocabulary.js";

/** Tokens that may come next in one state, and how much room each takes: one mask serves a state whatever room there is. */
interface Mask {
  /** Ascending. */
  readonly ids: Int32Array;
  /** Tokens of the shortest end after each of them. */
  readonly needs: Float32Array;
  /** The most of these. */
  readonly farthest: number;
}

/** Masks that are kept, each up to eight bytes for every token. */
const MASKS = 64;
const masks = new WeakMap<Terms, Lru<Term, Mask>>();

/**
 * Keeps a text to `start`: after it only the stop tokens may come, and in at most `maxTokens` tokens it is always whole, as only
 * tokens are let through after which there is room for the shortest end. Throws UserError, beginning with `what`, where there is room for none.
 */
export function grammarConstraint(
  { terms, vocabulary }: { readonly terms: Terms; readonly vocabulary: Vocabulary },
  start: Term,
  {
    stopIds,
    maxTokens,
    what,
  }: { readonly stopIds: ReadonlySet<number>; readonly maxTokens: number; readonly what: string },
): TokenConstraint {
  const least = terms.cost(start);
  if (least > maxTokens) {
    throw new UserError(`${what}: ${maxTokens} new tokens cannot hold it; the shortest one may take ${least}`);
  }
  let kept = masks.get(terms);
  if (!kept) masks.set(terms, (kept = new Lru(MASKS)));
  let state = start;
  let left = maxTokens;
  let cut = false;
  const after = (id: number): Term => {
    const symbols = vocabulary.symbols(id);
    if (!symbols) return terms.none;
    let term = state;
    for (const symbol of symbols) {
      term = terms.after(term, symbol);
      if (term === terms.none) break;
    }
    return term;
  };
  const ends = (id: number) => state.nullable && stopIds.has(id);
  return {
    allows(id) {
      if (ends(id)) return true;
      const need = terms.cost(after(id));
      if (need >= left && need !== Number.POSITIVE_INFINITY) cut = true;
      return need < left;
    },
    allowed() {
      const { ids, needs, farthest } = kept.get(state, () => maskOf(terms, vocabulary, state));
      const fitting = farthest < left ? ids : ids.filter((_, i) => needs[i]! < left);
      return state.nullable ? withAll(fitting, stopIds) : fitting;
    },
    push(id) {
      if (!stopIds.has(id) || !ends(id)) state = after(id);
      left--;
    },
    get done() {
      return state === terms.empty;
    },
    get cut() {
      return cut;
    },
  };
}

/** Ascending ids, and others among them. */
function withAll(ids: Int32Array, others: ReadonlySet<number>): Int32Array {
  const more = [...others].filter((id) => !ids.includes(id)).sort((a, b) => a - b);
  const all = new Int32Array(ids.length + more.length);
  let at = 0;
  for (const id of ids) {
    while (more.length > 0 && more[0]! < id) all[at++] = more.shift()!;
    all[at++] = id;
  }
  all.set(more, at);
  return all;
}

/** The tokens after which a text can still be ended. */
function maskOf(terms: Terms, vocabulary: Vocabulary, state: Term): Mask {
  const { byte, depth, skip, ends, ids, size } = vocabulary;
  const needs = new Float32Array(size).fill(Number.POSITIVE_INFINITY);
  const path: Term[] = [state];
  for (let node = 0; node < byte.length; ) {
    const term = terms.after(path[depth[node]!]!, byte[node]!);
    if (term === terms.none) {
      node = skip[node]!;
      continue;
    }
    path[depth[node]! + 1] = term;
    if (ends[node + 1]! > ends[node]!) {
      const need = terms.cost(term);
      for (let i = ends[node]!; i < ends[node + 1]!; i++) needs[ids[i]!] = need;
    }
    node++;
  }
  for (const id of vocabulary.added) {
    const term = terms.after(state, ADDED + id);
    if (term !== terms.none) needs[id] = terms.cost(term);
  }
  return compact(needs);
}

/** What is finite of the needs of all tokens. */
function compact(all: Float32Array): Mask {
  let count = 0;
  for (let id = 0; id < all.length; id++) if (all[id]! < Number.POSITIVE_INFINITY) count++;
  const [ids, needs] = [new Int32Array(count), new Float32Array(count)];
  let [at, farthest] = [0, 0];
  for (let id = 0; id < all.length; id++) {
    const need = all[id]!;
    if (need === Number.POSITIVE_INFINITY) continue;
    ids[at] = id;
    needs[at++] = need;
    farthest = Math.max(farthest, need);
  }
  return { ids, needs, farthest };
}
