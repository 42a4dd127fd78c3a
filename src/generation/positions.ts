import type { Box, Device, View } from "../runtime/index.js";

/** `count` positions from `at` on in one row of a KV cache, to `toAt` in row `toRow` of another. */
export interface PositionMove {
  readonly row: number;
  readonly at: number;
  readonly toRow: number;
  readonly toAt: number;
  readonly count: number;
}

/** Copies positions between KV caches, [L, rows, KV, positions, w] on both sides, in every L and KV: how they grow and move. */
export function movePositions(device: Device, from: View, to: View, moves: readonly PositionMove[]): void {
  const [layers, , groups, , width] = from.shape as [number, number, number, number, number];
  const boxOf = ({ row, at, toRow, toAt, count }: PositionMove): Box => ({
    from: [0, row, 0, at, 0],
    to: [0, toRow, 0, toAt, 0],
    size: [layers, 1, groups, count, width],
  });
  device.copy(from, to, moves.map(boxOf));
}
