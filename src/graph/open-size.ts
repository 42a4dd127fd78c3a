import type { Shape } from "../tensor/index.js";

/**
 * A size that is only known when the program runs. It is a prime far above any size of a model, so that a size that is
 * computed from it shows how: a function made for OPEN tokens is lowered once and serves any number of them.
 */
export const OPEN = 1_000_003;

/** Whether a size depends on an open one. */
export const isOpen = (size: number): boolean => size >= OPEN && size % OPEN === 0;

/** A shape for `size` in place of OPEN. */
export const sized = (shape: Shape, size: number): number[] => shape.map((d) => (isOpen(d) ? (d / OPEN) * size : d));
