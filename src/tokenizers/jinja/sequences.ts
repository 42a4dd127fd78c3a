import { indexed } from "./text.js";
import { isInt, itemsOf, Markup, numberOf, Range, Tuple, textOf, typeName, Undefined } from "./values.js";
import { spendItems, TemplateError, Unsupported } from "./work.js";

/** Python's `value[start:stop:step]`. */
export function slice(value: unknown, bounds: readonly unknown[]): unknown {
  if (value instanceof Undefined) value.fail();
  const text = textOf(value);
  const sequence = text !== undefined ? indexed(text) : value instanceof Range ? [...value.iterate()] : itemsOf(value);
  if (sequence === undefined) throw new TemplateError(`'${typeName(value)}' object is not subscriptable`);
  const picked = pick(sequence, bounds.map(boundOf));
  if (value instanceof Markup) return new Markup(joinPicked(picked));
  if (text !== undefined) return joinPicked(picked);
  if (value instanceof Range) throw new Unsupported("a slice of a range");
  return Array.isArray(value) ? picked : new Tuple(picked as unknown[]);
}

const joinPicked = (picked: string | readonly unknown[]): string =>
  typeof picked === "string" ? picked : picked.join("");

function boundOf(bound: unknown): number | undefined {
  if (bound === null || bound === undefined) return undefined;
  if (bound instanceof Undefined || !isInt(bound)) {
    throw new TemplateError("slice indices must be integers or None or have an __index__ method");
  }
  return numberOf(bound);
}

function pick(sequence: string | readonly unknown[], bounds: (number | undefined)[]): string | readonly unknown[] {
  const [from, to, step = 1] = bounds;
  if (step === 0) throw new TemplateError("slice step cannot be zero");
  const count = sequence.length;
  const [lowest, highest] = step > 0 ? [0, count] : [-1, count - 1];
  const clamp = (bound: number | undefined, unset: number) =>
    bound === undefined ? unset : Math.min(Math.max(bound < 0 ? bound + count : bound, lowest), highest);
  const start = clamp(from, step > 0 ? 0 : count - 1);
  const stop = clamp(to, step > 0 ? count : -1);
  if (step === 1) {
    if (typeof sequence !== "string") spendItems(Math.max(0, stop - start));
    return sequence.slice(start, Math.max(start, stop));
  }
  const picked: unknown[] = [];
  const length = Math.max(0, Math.ceil((stop - start) / step));
  spendItems(length);
  for (let i = 0, at = start; i < length; i++, at += step) picked.push(sequence[at]);
  return typeof sequence === "string" ? picked.join("") : picked;
}

/** Python's `value[index]` for a sequence; undefined (JavaScript's) when there is none. */
export function itemAt(value: unknown, index: number): unknown {
  const text = textOf(value);
  if (text !== undefined) {
    const points = indexed(text);
    const found = points[index < 0 ? index + points.length : index];
    return found !== undefined && value instanceof Markup ? new Markup(found) : found;
  }
  if (value instanceof Range) {
    const at = index < 0 ? index + value.count : index;
    return at >= 0 && at < value.count ? value.at(at) : undefined;
  }
  return itemsOf(value)?.at(index < 0 && index < -lengthOfItems(value) ? Number.MAX_SAFE_INTEGER : index);
}

const lengthOfItems = (value: unknown): number => itemsOf(value)!.length;
