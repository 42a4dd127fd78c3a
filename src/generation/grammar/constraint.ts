import { UserError } from "../../tensor/index.js";
import { Lru } from "../../tensor/lru.js";
import type { TokenConstraint } from "../types.js";
import type { Term, Terms } from "./terms.js";
import { ADDED, type Vocabulary } from "./vocabulary.js";

/** Tokens that may come next in one state, whatever room there is. */
interface Mask {
  readonly allowed: Uint8Array;
  /** The most tokens that may be needed after one of them. */
  readonly farthest: number;
}

/** Masks that are kept, each a byte for every token. */
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
    mask(logits) {
      let mask = kept.get(state, () => maskOf(terms, vocabulary, state, Number.POSITIVE_INFINITY));
      if (mask.farthest >= left) mask = maskOf(terms, vocabulary, state, left);
      for (let id = 0; id < logits.length; id++) {
        if (mask.allowed[id] !== 1 && !ends(id)) logits[id] = Number.NEGATIVE_INFINITY;
      }
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

/** The tokens after which a text can still be ended in fewer than `left` tokens, this one counted. */
function maskOf(terms: Terms, vocabulary: Vocabulary, state: Term, left: number): Mask {
  const { byte, depth, skip, ends, ids } = vocabulary;
  const allowed = new Uint8Array(vocabulary.size);
  let farthest = 0;
  const need = (term: Term): number => {
    const cost = terms.cost(term);
    if (cost < left) farthest = Math.max(farthest, cost);
    return cost;
  };
  const path: Term[] = [state];
  for (let node = 0; node < byte.length; ) {
    const term = terms.after(path[depth[node]!]!, byte[node]!);
    if (term === terms.none) {
      node = skip[node]!;
      continue;
    }
    path[depth[node]! + 1] = term;
    if (ends[node + 1]! > ends[node]! && need(term) < left) {
      for (let i = ends[node]!; i < ends[node + 1]!; i++) allowed[ids[i]!] = 1;
    }
    node++;
  }
  for (const id of vocabulary.added) {
    const term = terms.after(state, ADDED + id);
    if (term !== terms.none && need(term) < left) allowed[id] = 1;
  }
  return { allowed, farthest };
}
