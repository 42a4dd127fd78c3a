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
      for (const found of block.matchAll(cluster)) yield* clusterEdits(found[0], from + found.index, form, edits);
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

function* clusterEdits(cluster: string, at: number, form: Form, edits: Edit[]): Generator<void, void> {
  if (cluster.length > LONG_RUN) {
    const made = (yield* inOrder(cluster, form)).normalize(form);
    if (made !== cluster) edits.push([at, at + cluster.length, made]);
    return;
  }
  const made = cluster.normalize(form);
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
 * A long cluster decomposed, each run of marks in its canonical order. The host does that one mark after the other, which
 * takes the square of their number; what has an order already it leaves in linear time.
 */
function* inOrder(cluster: string, form: Form): Generator<void, string> {
  const decomposition = form === "NFKC" || form === "NFKD" ? "NFKD" : "NFD";
  const ranks = canonicalRanks(decomposed(new Set(cluster), decomposition));
  const ordered: string[] = [];
  let run: string[][] = [];
  const endRun = () => {
    for (const marks of run) if (marks) for (const mark of marks) ordered.push(mark);
    run = [];
  };
  let seen = 0;
  for (const character of cluster) {
    for (const mark of character.normalize(decomposition)) {
      const rank = ranks.get(mark);
      if (rank !== undefined) (run[rank] ??= []).push(mark);
      else {
        endRun();
        ordered.push(mark);
      }
    }
    if (++seen % BLOCK === 0) yield;
  }
  endRun();
  return ordered.join("");
}

function decomposed(characters: ReadonlySet<string>, form: Form): Set<string> {
  return new Set(Array.from(characters, (c) => Array.from(c.normalize(form))).flat());
}

/** Marks that have a canonical order -> their place in it. */
function canonicalRanks(characters: ReadonlySet<string>): Map<string, number> {
  const marks = [...characters].filter(isOrdered).sort(order);
  const ranks = new Map<string, number>();
  marks.forEach((mark, i) => {
    const before = ranks.get(marks[i - 1]!) ?? 0;
    ranks.set(mark, i > 0 && order(marks[i - 1]!, mark) < 0 ? before + 1 : before);
  });
  return ranks;
}

/** Does the canonical order put `b` before `a`? The host is asked. */
function swaps(a: string, b: string): boolean {
  return a !== b && `a${a}${b}`.normalize("NFD") === `a${b}${a}`;
}

const order = (a: string, b: string): number => Number(swaps(a, b)) - Number(swaps(b, a));

/** Has a mark a place in the canonical order? The classes of U+0334 and U+0345 are the first and the last. */
function isOrdered(mark: string): boolean {
  return mark === "\u0345" || swaps(mark, "\u0334") || swaps("\u0345", mark);
}
