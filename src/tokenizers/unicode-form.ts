import type { Edit } from "./piece.js";
import { leftAlone } from "./unicode.js";

export type Form = "NFC" | "NFD" | "NFKC" | "NFKD";

const BLOCK = 4096;
const LONG_RUN = 64;

/** What may change with what is before it: marks, vowels and ends of Korean syllables, and what stands for these. */
const CONTINUES = "\\p{M}\\u1160-\\u11ff\\ud7b0-\\ud7ff\\u3131-\\u318e\\uff9e-\\uffdc";
const cluster = new RegExp(`[${leftAlone}]|[^${leftAlone}][[${CONTINUES}]--[${leftAlone}]]*`, "gv");
const continues = new RegExp(`^[${CONTINUES}]`, "u");

/** The edits that bring a text into a Unicode normal form, cluster by cluster; yields every few thousand characters. */
export function* formEdits(text: string, form: Form): Generator<void, Edit[]> {
  const edits: Edit[] = [];
  for (let from = 0; from < text.length; ) {
    const to = blockEnd(text, from);
    const block = text.slice(from, to);
    if (to - from > 2 * BLOCK || !isNormal(block, form)) {
      for (const found of block.matchAll(cluster)) clusterEdits(found[0], from + found.index, form, edits);
    }
    from = to;
    if (from < text.length) yield;
  }
  return edits;
}

/** A place some thousand characters on where no cluster is cut. */
function blockEnd(text: string, from: number): number {
  let to = from + BLOCK;
  while (to < text.length) {
    const lowHalf = (text.charCodeAt(to) & 0xfc00) === 0xdc00;
    const character = String.fromCodePoint(text.codePointAt(to)!);
    if (!lowHalf && !continues.test(character)) break;
    to += character.length;
  }
  return Math.min(to, text.length);
}

function isNormal(text: string, form: Form): boolean {
  return text.normalize(form) === text;
}

function clusterEdits(cluster: string, at: number, form: Form, edits: Edit[]): void {
  const made = normalized(cluster, form);
  if (made === cluster || leftAloneOnly.test(cluster)) return;
  const characters = Array.from(cluster);
  const alone = characters.map((c) => c.normalize(form));
  if (alone.join("") !== made) {
    edits.push([at, at + cluster.length, made]);
    return;
  }
  let start = at;
  characters.forEach((c, i) => {
    if (alone[i] !== c) edits.push([start, start + c.length, alone[i]!]);
    start += c.length;
  });
}

const leftAloneOnly = new RegExp(`^[${leftAlone}]$`, "u");

/**
 * The host puts the marks of a run in order one by one, which takes the square of their number: a long run is put in order
 * before, by asking it for pairs.
 */
function normalized(cluster: string, form: Form): string {
  if (cluster.length <= LONG_RUN) return cluster.normalize(form);
  const marks = Array.from(
    Array.from(cluster, (c) => c.normalize(form === "NFKC" || form === "NFKD" ? "NFKD" : "NFD")).join(""),
  );
  const ordered: string[] = [];
  let run: string[] = [];
  for (const mark of [...marks, ""]) {
    if (mark !== "" && isOrdered(mark)) run.push(mark);
    else {
      for (const sorted of run.sort(order)) ordered.push(sorted);
      run = [];
      ordered.push(mark);
    }
  }
  return ordered.join("").normalize(form);
}

const pairs = new Map<string, boolean>();

/** Does the canonical order put `b` before `a`? */
function swaps(a: string, b: string): boolean {
  let known = pairs.get(a + b);
  if (known === undefined) {
    known = a !== b && `a${a}${b}`.normalize("NFD") === `a${b}${a}`;
    if (pairs.size < 100_000) pairs.set(a + b, known);
  }
  return known;
}

const order = (a: string, b: string): number => Number(swaps(a, b)) - Number(swaps(b, a));

/** Has a mark a place in the canonical order? The classes of U+0334 and U+0345 are the first and the last. */
function isOrdered(mark: string): boolean {
  return mark === "\u0345" || swaps(mark, "\u0334") || swaps("\u0345", mark);
}
