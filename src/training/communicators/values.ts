import type { Communicator } from "./communicator.js";

/** What every rank gives, in their order: numbers, texts, arrays of numbers and records of these. */
export async function gatherValues<T>(communicator: Communicator, value: T): Promise<T[]> {
  if (communicator.size === 1) return [value];
  return (await communicator.gather(encoded(value))).map((data) => decoded(data) as T);
}

/** What the first rank gives; what others do is passed over. */
export async function fromFirst<T>(communicator: Communicator, value: T): Promise<T> {
  if (communicator.size === 1) return value;
  const own = communicator.rank === 0 ? encoded(value) : new Uint8Array(0);
  const length = new Uint8Array(8);
  new DataView(length.buffer).setFloat64(0, own.length);
  await communicator.broadcast(length, 0);
  const data = communicator.rank === 0 ? own : new Uint8Array(new DataView(length.buffer).getFloat64(0));
  await communicator.broadcast(data, 0);
  return communicator.rank === 0 ? value : (decoded(data) as T);
}

/** Whether it holds for any rank. */
export async function anyRank(communicator: Communicator, holds: boolean): Promise<boolean> {
  if (communicator.size === 1) return holds;
  const count = Float64Array.of(holds ? 1 : 0);
  await communicator.sum(count);
  return count[0]! > 0;
}

const ARRAYS = { Int32Array, Uint8Array, Float32Array, Float64Array } as const;

/** JSON, and in it numbers that are not finite and arrays that JSON does not have. */
function encoded(value: unknown): Uint8Array {
  const replaced = (_key: string, one: unknown) => {
    if (typeof one === "number" && !Number.isFinite(one)) return { $number: String(one) };
    return ArrayBuffer.isView(one) ? { $array: one.constructor.name, values: Array.from(one as Float32Array) } : one;
  };
  return new TextEncoder().encode(JSON.stringify({ value }, replaced));
}

function decoded(data: Uint8Array): unknown {
  const revived = (_key: string, one: unknown) => {
    const { $number, $array, values } = (one ?? {}) as { $number?: string; $array?: string; values?: number[] };
    if ($number !== undefined) return Number($number);
    return $array === undefined ? one : ARRAYS[$array as keyof typeof ARRAYS].from(values!);
  };
  return (JSON.parse(new TextDecoder().decode(data), revived) as { value: unknown }).value;
}
