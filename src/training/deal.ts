import { totalTokens } from "../data/batches.js";
import type { MicroBatch } from "../data/sample.js";

/** Samples of a step's micro-batch that one rank computes at once: the whole micro-batch, or a part where ranks would have nothing. */
export interface Piece {
  /** Which micro-batch of the step they are of. */
  readonly of: number;
  /** How many of its samples come before. */
  readonly from: number;
  readonly batch: MicroBatch;
}

/** Whether a micro-batch of the step may be cut before its sample `at`. */
export type MayCut = (batch: MicroBatch, at: number) => boolean;

/** A rank may have so much more to compute than the mean before micro-batches are split. */
const UNEVEN = 1.05;

/**
 * Deals a step's micro-batches out to ranks, so that each has about as many tokens: the largest first, always to the rank that has
 * least. Where there are fewer than ranks, or one rank would keep the others waiting, the largest are cut in two, never between
 * samples that stay together, and where `mayCut` says no. The same step and number of ranks are always dealt alike; one rank gets
 * everything, uncut.
 */
export function deal(microBatches: readonly MicroBatch[], ranks: number, mayCut: MayCut = () => true): Piece[][] {
  let pieces: Piece[] = microBatches.map((batch, of) => ({ of, from: 0, batch }));
  let dealt = dealOut(pieces, ranks);
  if (ranks === 1) return dealt;
  const mean = microBatches.reduce((sum, batch) => sum + totalTokens(batch), 0) / ranks;
  for (let more = 0; more < 4 * ranks; more++) {
    const most = Math.max(...dealt.map(load));
    if (most <= UNEVEN * mean) break;
    const busiest = dealt.find((own) => load(own) === most)!;
    const halves = busiest.toSorted(bySize).flatMap((piece) => {
      const found = halved(piece, (at) => mayCut(microBatches[piece.of]!, piece.from + at));
      return found ? [{ piece, found }] : [];
    })[0];
    if (!halves) break;
    pieces = pieces.flatMap((piece) => (piece === halves.piece ? halves.found : [piece]));
    dealt = dealOut(pieces, ranks);
  }
  return dealt;
}

const load = (pieces: readonly Piece[]): number => pieces.reduce((sum, { batch }) => sum + totalTokens(batch), 0);
const inOrder = (a: Piece, b: Piece): number => a.of - b.of || a.from - b.from;
const bySize = (a: Piece, b: Piece): number => totalTokens(b.batch) - totalTokens(a.batch) || inOrder(a, b);

function dealOut(pieces: readonly Piece[], ranks: number): Piece[][] {
  const dealt = Array.from({ length: ranks }, () => ({ pieces: [] as Piece[], tokens: 0 }));
  for (const piece of pieces.toSorted(bySize)) {
    const least = dealt.reduce((best, own) => (own.tokens < best.tokens ? own : best));
    least.pieces.push(piece);
    least.tokens += totalTokens(piece.batch);
  }
  return dealt.map((own) => own.pieces.toSorted(inOrder));
}

/** A piece in two of about as many tokens; undefined where its samples all stay together. */
function halved({ of, from, batch }: Piece, mayCut: (at: number) => boolean): [Piece, Piece] | undefined {
  const cuts = cutsOf(batch).filter(mayCut);
  if (cuts.length === 0) return undefined;
  const half = totalTokens(batch) / 2;
  const off = (cut: number) => Math.abs(totalTokens(batch.slice(0, cut)) - half);
  const cut = cuts.reduce((best, other) => (off(other) < off(best) ? other : best));
  return [
    { of, from, batch: batch.slice(0, cut) },
    { of, from: from + cut, batch: batch.slice(cut) },
  ];
}

/** Where a micro-batch can be cut: before each sample but the first, and not before those that stay with the one before them. */
function cutsOf(batch: MicroBatch): number[] {
  const cuts: number[] = [];
  for (let at = 0; at < batch.length; at += 1 + (batch[at]!.beside?.length ?? 0)) if (at > 0) cuts.push(at);
  return cuts;
}
