import type { Shape } from "../tensor/index.js";
import type { Box } from "./device.js";

/** `count` values from value `from` of one tensor on, to value `to` of another. */
export interface Stretch {
  readonly from: number;
  readonly to: number;
  readonly count: number;
}

/** Whether a box lies within both tensors. */
export function fits(from: Shape, to: Shape, box: Box): boolean {
  const inside = (shape: Shape, start: readonly number[]) =>
    start.length === shape.length &&
    box.size.length === shape.length &&
    shape.every((d, i) => start[i]! >= 0 && box.size[i]! >= 0 && start[i]! + box.size[i]! <= d);
  return inside(from, box.from) && inside(to, box.to);
}

/** The values of a box that lie one behind the other, piece by piece. */
export function stretchesOf(from: Shape, to: Shape, box: Box): Stretch[] {
  const [steps, toSteps] = [stepsOf(from), stepsOf(to)];
  const whole = (axis: number) => box.size[axis] === from[axis] && box.size[axis] === to[axis];
  let last = box.size.length - 1;
  while (last > 0 && whole(last)) last--;
  const stretches: Stretch[] = [];
  const visit = (axis: number, start: number, end: number): void => {
    const [at, toAt] = [start + box.from[axis]! * steps[axis]!, end + box.to[axis]! * toSteps[axis]!];
    if (axis === last) stretches.push({ from: at, to: toAt, count: box.size[axis]! * steps[axis]! });
    else for (let i = 0; i < box.size[axis]!; i++) visit(axis + 1, at + i * steps[axis]!, toAt + i * toSteps[axis]!);
  };
  visit(0, 0, 0);
  return stretches;
}

/** Values between two entries of each axis. */
function stepsOf(shape: Shape): number[] {
  const steps = shape.map(() => 1);
  for (let axis = shape.length - 2; axis >= 0; axis--) steps[axis] = steps[axis + 1]! * shape[axis + 1]!;
  return steps;
}
