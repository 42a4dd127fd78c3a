import { CODECS, type Codec, decodeValues, sizeOf, UserError } from "../tensor/index.js";
import type { FilePlace, View } from "./device.js";

/** Fills `into` from the bytes at `offset` of a file. */
export type ReadFile = (path: string, offset: number, into: Uint8Array) => Promise<void>;

/** Where the bytes of an encoded tensor are: in memory, or in a file with what was read ahead of it. */
export interface Encoded {
  readonly memory: ArrayBuffer | undefined;
  readonly place?: FilePlace;
  ahead?: Promise<Uint8Array> | undefined;
}

/** Decodes a whole view into `target`; where a file must be read first, a promise of the milliseconds that decoding then took. */
export function decodeView(
  view: View,
  from: Encoded,
  read: ReadFile | undefined,
  target: Float32Array,
): Promise<number> | undefined {
  const { codec, shape } = view;
  const order = from.place?.rowTo;
  const decode = (source: Uint8Array) => {
    if (!order) {
      decodeValues(codec!, source, target);
      return;
    }
    const [row, width] = [source.length / shape[0]!, sizeOf(shape) / shape[0]!];
    order.forEach((to, i) => {
      decodeValues(codec!, source.subarray(i * row, (i + 1) * row), target.subarray(to * width, (to + 1) * width));
    });
  };
  if (!from.place) {
    decode(new Uint8Array(from.memory!, view.offset));
    return undefined;
  }
  const bytes = from.ahead ?? readPlace(from.place, read);
  from.ahead = undefined;
  return bytes.then((source) => {
    const began = performance.now();
    decode(source);
    return performance.now() - began;
  });
}

/** Begins to read a file's buffer, unless that is under way. */
export function readAhead(from: Encoded, read: ReadFile | undefined): void {
  if (!from.place || from.ahead) return;
  from.ahead = readPlace(from.place, read);
  from.ahead.catch(() => {}); // told when it is decoded
}

/** Decodes rows `ids` of a matrix whose rows are whole numbers of blocks. */
export async function decodeRows(
  { codec, shape, offset }: View,
  from: Encoded,
  read: ReadFile | undefined,
  ids: readonly number[],
  target: Float32Array,
): Promise<void> {
  const width = shape[1]!;
  const { block, bytes, group }: Codec = CODECS[codec!];
  if (group) throw new Error(`rows of ${codec} cannot be looked up: blocks share their scales`);
  const row = (width / block) * bytes;
  if (!Number.isInteger(row)) throw new Error(`rows of ${width} values are no whole number of ${codec} blocks`);
  const { place } = from;
  for (const [i, id] of ids.entries()) {
    const source = place ? new Uint8Array(row) : new Uint8Array(from.memory!, offset + id * row, row);
    if (place) await reader(read)(place.path, place.offset + (place.rowTo?.indexOf(id) ?? id) * row, source);
    decodeValues(codec!, source, target.subarray(i * width, (i + 1) * width));
  }
}

async function readPlace({ path, offset, bytes }: FilePlace, read: ReadFile | undefined): Promise<Uint8Array> {
  const target = new Uint8Array(bytes);
  await reader(read)(path, offset, target);
  return target;
}

function reader(read: ReadFile | undefined): ReadFile {
  if (!read) throw new UserError("base_offload disk needs a device that reads files, which this one does not");
  return read;
}
