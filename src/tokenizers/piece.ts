/**
 * A stretch of a text as the tokenizer has changed it so far, with where each code unit of it comes from. Without a map,
 * code unit u comes from `base + u`; what lies before `origin` was put there by the tokenizer and covers nothing.
 */
export interface Piece {
  readonly text: string;
  readonly base: number;
  /** Where in the original the stretch begins. */
  readonly origin: number;
  readonly map?: { readonly starts: Int32Array; readonly ends: Int32Array };
}

/** A replacement of the code units [from, to) of a piece. */
export type Edit = readonly [from: number, to: number, content: string];

/** Where in the original code unit `u` of the piece begins. */
export function startAt({ base, origin, map }: Piece, u: number): number {
  return map ? (map.starts[u] ?? map.ends.at(-1) ?? origin) : Math.max(origin, base + u);
}

/** Where in the original what is before code unit `u` of the piece ends. */
export function endAt({ base, origin, map }: Piece, u: number): number {
  return map ? (map.ends[u - 1] ?? origin) : Math.max(origin, base + u);
}

export function slicePiece(piece: Piece, from: number, to: number): Piece {
  const { text, base, map } = piece;
  if (from === 0 && to === text.length) return piece;
  const part = { text: text.slice(from, to), base: base + from, origin: startAt(piece, from) };
  return map ? { ...part, map: { starts: map.starts.subarray(from, to), ends: map.ends.subarray(from, to) } } : part;
}

/** The piece with something before it that covers nothing. */
export function prepend(piece: Piece, content: string): Piece {
  const { text, base, origin, map } = piece;
  if (!map) return { text: content + text, base: base - content.length, origin };
  return edited(piece, [[0, 0, content]]);
}

/** The piece with its edits, which are in order and do not overlap. New characters cover all that they stand for. */
export function edited(piece: Piece, edits: readonly Edit[]): Piece {
  if (edits.length === 0) return piece;
  const { text, base, origin } = piece;
  const length = edits.reduce((sum, [from, to, content]) => sum + content.length - (to - from), text.length);
  const starts = new Int32Array(length);
  const ends = new Int32Array(length);
  let made = "";
  let at = 0;
  const keep = (to: number) => {
    for (let u = at, i = made.length; u < to; u++, i++) {
      starts[i] = startAt(piece, u);
      ends[i] = endAt(piece, u + 1);
    }
    made += text.slice(at, to);
  };
  for (const [from, to, content] of edits) {
    keep(from);
    const start = startAt(piece, from);
    const end = Math.max(start, from < to ? endAt(piece, to) : start);
    starts.fill(start, made.length, made.length + content.length);
    ends.fill(end, made.length, made.length + content.length);
    made += content;
    at = to;
  }
  keep(text.length);
  return { text: made, base, origin, map: { starts, ends } };
}
