import type { Shape } from "../tensor/index.js";
import { check } from "./value.js";

/**
 * A size that is only known when the program runs. Sizes are whole numbers and this is none, so the two are never the same, and what is
 * computed from it shows how: k OPEN is k times that size. A function made for OPEN tokens is lowered once and serves any number
 * of them.
 */
export const OPEN = 2 ** -30;

/** Whether a size is a multiple of the open one. Throws GraphError for what no multiple is: a sum with a fixed size, a square. */
export function isOpen(size: number): boolean {
  if (Number.isInteger(size)) return false;
  check(size < 1 && Number.isInteger(size / OPEN), "open size", () => `${size} is no multiple of it`);
  return true;
}

/** A shape for `size` in place of OPEN. */
export const sized = (shape: Shape, size: number): number[] => shape.map((d) => (isOpen(d) ? (d / OPEN) * size : d));

/** A shape as it is printed: N is the open size. */
export const shown = (shape: Shape): string =>
  shape.map((d) => (isOpen(d) ? (d === OPEN ? "N" : `${d / OPEN} N`) : d)).join(",");
