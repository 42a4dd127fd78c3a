import { UserError } from "../../tensor/index.js";
import { type Costs, createTerms, type Machine, type Move, type Term, type Terms } from "./terms.js";

/** Larger automata take too long to make while others wait. */
const MOST_STATES = 4000;

/**
 * A regular term, in which `both` and `not` may stand, as a finite automaton that knows how far every end is; `write` makes
 * the term. Throws UserError, beginning with `where`, for one of more than 4000 states, and one that takes nothing.
 */
export function machineOf(terms: Terms, write: (terms: Terms) => Term, where: string): Term {
  const { costs } = terms;
  const refuse = () => new UserError(`${where}: it needs more than ${MOST_STATES} states; make it shorter`);
  const own = createTerms(costs, refuse);
  const states = new Map<Term, number>([[write(own), 0]]);
  const moves: Move[][] = [];
  for (const term of states.keys()) moves.push(movesOf(own, term, states, refuse));
  const accepts = [...states.keys()].map(({ nullable }) => nullable);
  const machine: Machine = { accepts, moves, costs: distances(costs, accepts, moves), terms: [] };
  if (machine.costs[0] === Number.POSITIVE_INFINITY)
    throw new UserError(`${where}: no text that can be written fits it`);
  return terms.machineTerm(pruned(machine), 0);
}

function movesOf(terms: Terms, term: Term, states: Map<Term, number>, refuse: () => Error): Move[] {
  const cuts = new Set<number>();
  addCuts(term, cuts);
  const sorted = [...cuts].sort((a, b) => a - b);
  const moves: Move[] = [];
  for (const [i, low] of sorted.entries()) {
    const high = (sorted[i + 1] ?? 256) - 1;
    const next = terms.after(term, low);
    if (next === terms.none || high < low) continue;
    let to = states.get(next);
    if (to === undefined) states.set(next, (to = states.size));
    if (to >= MOST_STATES) throw refuse();
    const last = moves.at(-1);
    if (last && last.to === to && last.high === low - 1) moves[moves.length - 1] = { ...last, high };
    else moves.push({ low, high, to });
  }
  return moves;
}

/** Bytes where what may come next changes: between two of them all are alike. */
function addCuts(term: Term, cuts: Set<number>): void {
  switch (term.kind) {
    case "range":
      cuts.add(term.low).add(term.high + 1);
      break;
    case "text": {
      const byte = term.literal.bytes[term.at]!;
      cuts.add(byte).add(byte + 1);
      break;
    }
    case "seq":
      addCuts(term.head, cuts);
      if (term.head.nullable) addCuts(term.tail, cuts);
      break;
    case "alt":
      for (const part of term.parts) addCuts(part, cuts);
      break;
    case "repeat":
      addCuts(term.part, cuts);
      break;
    case "machine":
      for (const { low, high } of term.machine.moves[term.state]!) cuts.add(low).add(high + 1);
      break;
    case "both":
      addCuts(term.one, cuts);
      addCuts(term.other, cuts);
      break;
    case "not":
      cuts.add(0);
      addCuts(term.part, cuts);
  }
}

/** Tokens of the shortest end from each state: every step is one byte, where a token of that byte alone is there. */
function distances(costs: Costs, accepts: readonly boolean[], moves: readonly (readonly Move[])[]): number[] {
  const back = moves.map((): number[] => []);
  for (const [from, list] of moves.entries()) {
    for (const { low, high, to } of list) {
      for (let byte = low; byte <= high; byte++) {
        if (!costs.alone(byte)) continue;
        back[to]!.push(from);
        break;
      }
    }
  }
  const far = accepts.map((ends) => (ends ? 0 : Number.POSITIVE_INFINITY));
  let front = accepts.flatMap((ends, state) => (ends ? [state] : []));
  for (let distance = 1; front.length > 0; distance++) {
    const reached: number[] = [];
    for (const state of front) {
      for (const from of back[state]!) {
        if (far[from] !== Number.POSITIVE_INFINITY) continue;
        far[from] = distance;
        reached.push(from);
      }
    }
    front = reached;
  }
  return far;
}

/** Without moves to states that have no end at all, whatever the vocabulary. */
function pruned(machine: Machine): Machine {
  const every = distances({ alone: () => true, ofText: () => [] }, machine.accepts, machine.moves);
  return {
    ...machine,
    moves: machine.moves.map((list) => list.filter(({ to }) => every[to] !== Number.POSITIVE_INFINITY)),
  };
}
