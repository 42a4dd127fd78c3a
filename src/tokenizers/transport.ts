import { Float, keysOf, LongInteger, rememberOrder, remembersOrder, setOwn } from "./json.js";

/** Values as they can be copied to another thread, and how much text they hold. */
export interface Packed {
  readonly value: unknown;
  /** Characters of its texts and keys, and some for each value. */
  readonly size: number;
  /** Does it hold what has to be unpacked? */
  readonly marked: boolean;
}

/** What one item of a list or dict counts, beside its text. */
const itemSize = 8;

export interface Packer {
  pack(value: unknown): Packed;
  /** Size of everything that was packed, each object once. */
  readonly total: number;
}

/**
 * Readies values from `parseJson` to be copied to another thread, which would forget `Float` and the order of keys: those
 * become Maps, which come from nowhere else. Long integers become the bigints that templates count with. What is in several values is packed once, and copied once if they are sent
 * together.
 */
export function createPacker(): Packer {
  const known = new Map<object, Packed>();
  let total = 0;
  const packed = (value: unknown, size: number, marked: boolean): Packed => ({ value, size, marked });
  const pack = (value: unknown): Packed => {
    if (typeof value === "object" && value !== null && !isNumeric(value)) {
      total += itemSize;
      let found = known.get(value);
      if (!found) known.set(value, (found = Array.isArray(value) ? packList(value) : packObject(value)));
      return found;
    }
    const size = itemSize + (typeof value === "string" ? value.length : 0);
    total += size;
    if (value instanceof LongInteger) return packed(value.value, size, true);
    return value instanceof Float ? packed(new Map([["float", value.value]]), size, true) : packed(value, size, false);
  };
  const packList = (list: readonly unknown[]): Packed => {
    const items = list.map(pack);
    const size = items.reduce((sum, item) => sum + item.size, itemSize);
    const marked = items.some((item) => item.marked);
    return packed(marked ? items.map((item) => item.value) : list, size, marked);
  };
  const packObject = (object: object): Packed => {
    const record: Record<string, unknown> = {};
    const keys = keysOf(object);
    let size = itemSize;
    let marked = remembersOrder(object);
    for (const key of keys) {
      const item = pack((object as Record<string, unknown>)[key]);
      size += item.size + key.length;
      marked ||= item.marked;
      setOwn(record, key, item.value);
    }
    const changed = remembersOrder(object)
      ? new Map<string, unknown>([
          ["keys", keys],
          ["object", record],
        ])
      : record;
    return packed(marked ? changed : object, size, marked);
  };
  return {
    pack,
    get total() {
      return total;
    },
  };
}

const isNumeric = (value: object): boolean => value instanceof Float || value instanceof LongInteger;

/** Values as templates get them without being sent anywhere. */
export function unsent<T>(values: readonly T[]): readonly T[] {
  const { pack } = createPacker();
  const packed = values.map(pack);
  return packed.some(({ marked }) => marked) ? packed.map(({ value }) => unpackOne(value) as T) : values;
}

const unpackOne = (value: unknown): unknown => createUnpacker()(value);

/** The values that were packed, in the other thread. What was one object before is one again. */
export function createUnpacker(): (value: unknown) => unknown {
  const known = new Map<object, unknown>();
  const unpack = (value: unknown): unknown => {
    if (typeof value !== "object" || value === null) return value;
    if (known.has(value)) return known.get(value);
    const made = Array.isArray(value) ? value.map(unpack) : value instanceof Map ? marked(value) : record(value);
    known.set(value, made);
    return made;
  };
  const marked = (map: ReadonlyMap<string, unknown>): unknown =>
    map.has("float")
      ? new Float(map.get("float") as number)
      : rememberOrder(record(map.get("object") as object), map.get("keys") as string[]);
  const record = (object: object): Record<string, unknown> => {
    const made: Record<string, unknown> = {};
    for (const [key, item] of Object.entries(object)) setOwn(made, key, unpack(item));
    return made;
  };
  return unpack;
}
