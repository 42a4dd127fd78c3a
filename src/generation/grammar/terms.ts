/** What the next symbol of a text may be. A symbol is a byte, or 256 + id for an added token, which stands as a whole. */
export type Term = Common &
  (
    | { readonly kind: "none" | "empty" }
    | { readonly kind: "range"; readonly low: number; readonly high: number }
    | { readonly kind: "text"; readonly literal: Literal; readonly at: number }
    | { readonly kind: "seq"; readonly head: Term; readonly tail: Term }
    | { readonly kind: "alt"; readonly parts: readonly Term[] }
    | { readonly kind: "repeat"; readonly part: Term; readonly least: number; readonly most: number }
    | { readonly kind: "rule"; readonly rule: Rule }
    | { readonly kind: "machine"; readonly machine: Machine; readonly state: number }
    | { readonly kind: "both"; readonly one: Term; readonly other: Term }
    | { readonly kind: "not"; readonly part: Term }
  );

interface Common {
  readonly id: number;
  /** The text may end here. */
  readonly nullable: boolean;
  /** Tokens of the shortest end, once it is known; Infinity: the vocabulary cannot write one. */
  cost: number | undefined;
  /** What comes after a symbol, as far as it was asked. */
  next: Map<number, Term> | undefined;
}

/** A fixed text. */
interface Literal {
  readonly bytes: Uint8Array;
  /** The fewest tokens of the text from each byte on. */
  readonly costs: readonly number[];
  readonly terms: Term[];
}

/** A term with a name, so that it may hold itself. Its body never is the empty text. */
export interface Rule {
  body: Term | undefined;
  cost: number;
}

/** A finite automaton. */
export interface Machine {
  readonly accepts: readonly boolean[];
  readonly moves: readonly (readonly Move[])[];
  /** Tokens of the shortest end from each state. */
  readonly costs: readonly number[];
  readonly terms: Term[];
}

export interface Move {
  readonly low: number;
  readonly high: number;
  readonly to: number;
}

/** What a vocabulary can write. */
export interface Costs {
  /** Is there a token of this symbol alone? */
  alone(symbol: number): boolean;
  /** The fewest tokens of `bytes` from each byte on; Infinity where there are none. */
  ofText(bytes: Uint8Array): number[];
}

export type Terms = ReturnType<typeof createTerms>;

/** Steps that are remembered, all terms together: then all are forgotten and found anew. */
const MOST_REMEMBERED = 200_000;
/** Parts that a text may go on with at a time, where there is a limit. */
const MOST_PARTS = 2000;

/**
 * Makes terms, equal ones only once, and follows them symbol by symbol (Brzozowski 1964, derivatives of regular expressions;
 * rules make them context-free). A term stands for all that may still come, so it is the state of a text. With `refuse` they
 * throw its error where they become too many.
 */
export function createTerms(costs: Costs, refuse?: () => Error) {
  const known = new Map<string, Term>();
  const followed: Term[] = [];
  let remembered = 0;
  let count = 0;
  type Body<T> = T extends Common ? Omit<T, keyof Common> : never;
  const fresh = (nullable: boolean, body: Body<Term>): Term =>
    ({ id: count++, nullable, cost: undefined, next: undefined, ...body }) as Term;
  const shared = (key: string, nullable: boolean, body: () => Body<Term>): Term => {
    let term = known.get(key);
    if (!term) known.set(key, (term = fresh(nullable, body())));
    return term;
  };
  const none = fresh(false, { kind: "none" });
  const empty = fresh(true, { kind: "empty" });

  const range = (low: number, high = low): Term =>
    shared(`c${low},${high}`, false, () => ({ kind: "range", low, high }));

  /** The text as its bytes; none are empty. */
  function text(content: string | Uint8Array): Term {
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    const key = bytes.join();
    if (!known.has(`t${key}`)) {
      const literal: Literal = { bytes, costs: costs.ofText(bytes), terms: [] };
      for (let at = 0; at < bytes.length; at++) literal.terms.push(fresh(false, { kind: "text", literal, at }));
      literal.terms.push(empty);
      known.set(`t${key}`, literal.terms[0]!);
    }
    return known.get(`t${key}`)!;
  }

  function seq(...parts: readonly Term[]): Term {
    return parts.reduceRight((tail, head) => join(head, tail), empty);
  }
  function join(head: Term, tail: Term): Term {
    if (head === none || tail === none) return none;
    if (head === empty) return tail;
    if (tail === empty) return head;
    if (head.kind === "seq") return join(head.head, join(head.tail, tail));
    return shared(`s${head.id},${tail.id}`, head.nullable && tail.nullable, () => ({ kind: "seq", head, tail }));
  }

  function alt(...parts: readonly Term[]): Term {
    const flat = new Set<Term>();
    for (const part of parts) {
      if (part.kind === "alt") for (const one of part.parts) flat.add(one);
      else if (part !== none) flat.add(part);
    }
    if (refuse && flat.size > MOST_PARTS) throw refuse();
    if (flat.size <= 1) return [...flat][0] ?? none;
    const sorted = [...flat].sort((a, b) => a.id - b.id);
    const nullable = sorted.some((part) => part.nullable);
    return shared(`a${sorted.map(({ id }) => id).join()}`, nullable, () => ({ kind: "alt", parts: sorted }));
  }

  function repeat(part: Term, least = 0, most = Number.POSITIVE_INFINITY): Term {
    if (most === 0 || part === empty) return empty;
    if (part === none) return least === 0 ? empty : none;
    if (least === 1 && most === 1) return part;
    const from = part.nullable ? 0 : least;
    return shared(`r${part.id},${from},${most}`, from === 0, () => ({ kind: "repeat", part, least: from, most }));
  }
  const optional = (part: Term): Term => repeat(part, 0, 1);

  const rule = (): Rule => ({ body: undefined, cost: Number.POSITIVE_INFINITY });
  const rules = new WeakMap<Rule, Term>();
  function reference(to: Rule): Term {
    let term = rules.get(to);
    if (!term) rules.set(to, (term = fresh(false, { kind: "rule", rule: to })));
    return term;
  }

  function machineTerm(machine: Machine, state: number): Term {
    const ends = machine.moves[state]!.length === 0;
    if (ends) return machine.accepts[state] ? empty : none;
    return (machine.terms[state] ??= fresh(machine.accepts[state]!, { kind: "machine", machine, state }));
  }

  /** What both one and the other take; only within what becomes a machine. */
  function both(one: Term, other: Term): Term {
    if (one === none || other === none) return none;
    if (one === other) return one;
    return shared(`b${one.id},${other.id}`, one.nullable && other.nullable, () => ({ kind: "both", one, other }));
  }
  /** What a term does not take; only within what becomes a machine. */
  const not = (part: Term): Term => shared(`n${part.id}`, !part.nullable, () => ({ kind: "not", part }));

  /** What may come after `symbol`; `none` where it cannot stand. */
  function after(term: Term, symbol: number): Term {
    const before = term.next?.get(symbol);
    if (before) return before;
    if (remembered >= MOST_REMEMBERED) forget();
    const next = follow(term, symbol);
    if (!term.next) {
      term.next = new Map();
      followed.push(term);
    }
    term.next.set(symbol, next);
    remembered++;
    return next;
  }

  function forget(): void {
    if (refuse) throw refuse();
    for (const term of followed) term.next = undefined;
    followed.length = 0;
    known.clear();
    remembered = 0;
  }

  function follow(term: Term, symbol: number): Term {
    switch (term.kind) {
      case "none":
      case "empty":
        return none;
      case "range":
        return symbol >= term.low && symbol <= term.high ? empty : none;
      case "text":
        return term.literal.bytes[term.at] === symbol ? term.literal.terms[term.at + 1]! : none;
      case "seq": {
        const rest = join(after(term.head, symbol), term.tail);
        return term.head.nullable ? alt(rest, after(term.tail, symbol)) : rest;
      }
      case "alt":
        return alt(...term.parts.map((part) => after(part, symbol)));
      case "repeat":
        return join(after(term.part, symbol), repeat(term.part, Math.max(0, term.least - 1), term.most - 1));
      case "rule":
        return after(term.rule.body!, symbol);
      case "machine": {
        const move = term.machine.moves[term.state]!.find(({ low, high }) => symbol >= low && symbol <= high);
        return move ? machineTerm(term.machine, move.to) : none;
      }
      case "both":
        return both(after(term.one, symbol), after(term.other, symbol));
      case "not":
        return not(after(term.part, symbol));
    }
  }

  function measure(term: Term, inner: (term: Term) => number): number {
    switch (term.kind) {
      case "none":
        return Number.POSITIVE_INFINITY;
      case "empty":
        return 0;
      case "range": {
        for (let symbol = term.low; symbol <= term.high; symbol++) if (costs.alone(symbol)) return 1;
        return Number.POSITIVE_INFINITY;
      }
      case "text":
        return term.literal.costs[term.at]!;
      case "seq": {
        let sum = 0;
        let at: Term = term;
        for (; at.kind === "seq" && (at === term || at.cost === undefined); at = at.tail) sum += inner(at.head);
        return sum + inner(at);
      }
      case "alt":
        return Math.min(...term.parts.map(inner));
      case "repeat":
        return term.least === 0 ? 0 : term.least * inner(term.part);
      case "rule":
        return term.rule.cost;
      case "machine":
        return term.machine.costs[term.state]!;
      case "both":
      case "not":
        throw new Error("a term that was to become a machine did not");
    }
  }

  /** Tokens of the shortest text that ends a term; its rules must be settled. */
  function cost(term: Term): number {
    term.cost ??= measure(term, cost);
    return term.cost;
  }

  /** Finds the costs of rules, when all have their bodies. */
  function settle(all: readonly Rule[]): void {
    for (let changed = true; changed; ) {
      changed = false;
      const round = new Map<Term, number>();
      const inner = (term: Term): number => {
        let value = round.get(term);
        if (value === undefined) round.set(term, (value = measure(term, inner)));
        return value;
      };
      for (const one of all) {
        const value = inner(one.body!);
        if (value < one.cost) [one.cost, changed] = [value, true];
      }
    }
  }

  return {
    costs,
    none,
    empty,
    range,
    text,
    seq,
    alt,
    repeat,
    optional,
    rule,
    reference,
    machineTerm,
    both,
    not,
    after,
    cost,
    settle,
  };
}
