/** What blocks [first, end) cost stage `index`, whatever the unit. */
export type CostOf = (index: number, first: number, end: number) => number;

/**
 * Splits blocks into ranges, one for each stage and none of them empty, so that the stage that costs most costs as little as can be.
 * Returns the number of blocks of each. Throws RangeError where there are fewer blocks than stages.
 */
export function splitBlocks(blocks: number, stages: number, costOf: CostOf): number[] {
  if (blocks < stages) throw new RangeError(`${blocks} blocks cannot be split into ${stages} stages`);
  // For each end of the stages so far: the least that the most expensive one costs, and where the last one begins.
  let best = Array.from({ length: blocks + 1 }, (_, end) => (end === 0 ? 0 : Number.POSITIVE_INFINITY));
  const begins: number[][] = [];
  for (let index = 0; index < stages; index++) {
    const found = best.map((_, end) => cheapest(best, end, (first) => costOf(index, first, end)));
    best = found.map(({ cost }) => cost);
    begins.push(found.map(({ first }) => first));
  }
  const counts: number[] = [];
  for (let [index, end] = [stages - 1, blocks]; index >= 0; index--) {
    const first = begins[index]![end]!;
    counts.unshift(end - first);
    end = first;
  }
  return counts;
}

/** Where a stage that ends before block `end` had best begin, after stages that cost `before` up to there. */
function cheapest(before: readonly number[], end: number, costFrom: (first: number) => number) {
  let found = { cost: Number.POSITIVE_INFINITY, first: 0 };
  for (let first = 0; first < end; first++) {
    const cost = Math.max(before[first]!, costFrom(first));
    if (cost < found.cost) found = { cost, first };
  }
  return found;
}
