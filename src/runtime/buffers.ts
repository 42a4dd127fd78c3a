import { ARRAYS, asBytes, BYTES, CODECS, decodeValues, sizeOf, type TypedArray, UserError } from "../tensor/index.js";
import { type Stretch, stretchesOf } from "./boxes.js";
import { type Data, drawMask, isMask } from "./data.js";
import { type Box, type FilePlace, storedBytes, type View } from "./device.js";
import { type Memory, padded } from "./memory.js";

/** Fills `into` from the bytes at `offset` of a file. */
export type ReadFile = (path: string, offset: number, into: Uint8Array) => Promise<void>;

/** What is there now, or a promise of it: memory that is the host's never waits. */
export type Soon<V> = V | Promise<V>;

/** Goes on with what is there, at once where it is. */
export const whenThere = <A, B>(value: Soon<A>, next: (value: A) => Soon<B>): Soon<B> =>
  value instanceof Promise ? value.then(next) : next(value);

/** A buffer; its memory exists from its first use on, unless its bytes stay in a file. */
interface Held<M> {
  readonly bytes: number;
  memory: M | undefined;
  readonly place: FilePlace | undefined;
  /** What was read ahead of its use. */
  ahead?: Promise<Uint8Array> | undefined;
}

/** The buffers of an executor, by number: what is written to them, read out of them, and what of them an engine is given. */
export class Buffers<M, T> {
  /** Milliseconds that were waited for files. */
  fileWaitMs = 0;
  private readonly memory: Memory<M, T>;
  private readonly readFile: ReadFile | undefined;
  private readonly held = new Map<number, Held<M>>();
  private files = 0;

  constructor(memory: Memory<M, T>, readFile: ReadFile | undefined) {
    this.memory = memory;
    this.readFile = readFile;
  }

  /** Bytes of all that are memory. */
  get bytes(): number {
    let sum = 0;
    for (const { place, bytes } of this.held.values()) sum += place ? 0 : bytes;
    return sum;
  }

  /** Whether some stay in files. */
  get inFiles(): boolean {
    return this.files > 0;
  }

  allocate(id: number, bytes: number, place: FilePlace | undefined): void {
    if (place) this.files++;
    this.held.set(id, { bytes, memory: undefined, place });
  }

  /** Returns how many bytes of memory there are less. */
  free(id: number): number {
    const found = this.held.get(id);
    this.held.delete(id);
    if (found?.place) this.files--;
    if (found?.memory === undefined) return 0;
    this.memory.free?.(found.memory);
    return padded(found.bytes);
  }

  clear(): void {
    for (const id of [...this.held.keys()]) this.free(id);
  }

  upload(view: View, data: Data): Soon<void> {
    const held = this.get(view);
    if (isMask(data)) return this.write(view, (into) => drawMask(floats(into), data));
    const { memory } = this;
    if (!memory.adopt || held.memory !== undefined || !spans(data, held.bytes))
      return this.write(view, (into) => into.set(asBytes(data)));
    held.memory = memory.adopt(data.buffer as ArrayBuffer);
  }

  /** A view's values as they are now: memory that is the host's is read before anything else can run. */
  download(view: View): Soon<TypedArray> {
    const { dtype, shape, offset, codec } = view;
    if (codec) {
      return whenThere(this.stored(view), (source) => {
        const values = new Float32Array(sizeOf(shape));
        decodeInto(view, this.get(view).place, source, values);
        return values;
      });
    }
    return whenThere(
      this.memory.read(this.memoryOf(view), offset, storedBytes(view)),
      (bytes) => new ARRAYS[dtype](bytes.slice().buffer, 0, sizeOf(shape)),
    );
  }

  copy(from: View, to: View, parts: readonly Box[] | undefined): Soon<void> {
    if (from.codec && !parts) return this.decode(from, this.memoryOf(to), to.offset);
    const stretches = parts?.flatMap((box) => stretchesOf(from.shape, to.shape, box));
    if (from.codec) return this.decodeParts(from, to, stretches!);
    const width = BYTES[from.dtype];
    const ranges = stretches?.map(({ from: start, to: at, count }) => ({
      from: from.offset + start * width,
      to: to.offset + at * width,
      bytes: count * width,
    })) ?? [{ from: from.offset, to: to.offset, bytes: storedBytes(from) }];
    return this.memory.copy(this.memoryOf(from), this.memoryOf(to), ranges);
  }

  /** Decodes an encoded view into memory, from byte `at` on. */
  decode(view: View, into: M, at = 0): Soon<void> {
    const { place } = this.get(view);
    const bytes = sizeOf(view.shape) * BYTES.f32;
    return whenThere(this.stored(view), (source) =>
      this.memory.write(into, at, bytes, (target) => decodeInto(view, place, source, floats(target))),
    );
  }

  /** Begins to read what will be decoded soon, where that is in a file. */
  readAhead(view: View): void {
    const held = this.held.get(view.buffer.id);
    if (!held?.place || held.ahead) return; // not there yet, in memory, or under way
    held.ahead = this.readPlace(held.place);
    held.ahead.catch(() => {}); // told when it is decoded
  }

  inFile(view: View): boolean {
    return this.get(view).place !== undefined;
  }

  tensor(view: View): T {
    return this.memory.tensor(this.memoryOf(view), view);
  }

  private write(view: View, fill: (into: Uint8Array) => void): Soon<void> {
    return this.memory.write(this.memoryOf(view), view.offset, storedBytes(view), fill);
  }

  /** The bytes of an encoded view. */
  private stored(view: View): Soon<Uint8Array> {
    const held = this.get(view);
    if (!held.place) return this.memory.read(this.memoryOf(view), view.offset, storedBytes(view));
    const [bytes, began] = [held.ahead ?? this.readPlace(held.place), performance.now()];
    held.ahead = undefined;
    return bytes.then((source) => {
      this.fileWaitMs += performance.now() - began;
      return source;
    });
  }

  private async decodeParts(from: View, to: View, parts: readonly Stretch[]): Promise<void> {
    const { place } = this.get(from);
    for (const part of parts) {
      const { at, bytes } = storedAt(from, part, place?.rowTo);
      const source = place
        ? await this.readPlace({ ...place, offset: place.offset + at, bytes })
        : await this.memory.read(this.memoryOf(from), from.offset + at, bytes);
      const [start, size] = [to.offset + part.to * BYTES.f32, part.count * BYTES.f32];
      await this.memory.write(this.memoryOf(to), start, size, (target) =>
        decodeValues(from.codec!, source, floats(target)),
      );
    }
  }

  private async readPlace({ path, offset, bytes }: FilePlace): Promise<Uint8Array> {
    const { readFile } = this;
    if (!readFile) throw new UserError("base_offload disk needs a device that reads files, which this one does not");
    const target = new Uint8Array(bytes);
    await readFile(path, offset, target);
    return target;
  }

  private get({ buffer }: View): Held<M> {
    const held = this.held.get(buffer.id);
    if (!held) throw new Error(`buffer ${buffer.id} was freed`);
    return held;
  }

  private memoryOf(view: View): M {
    const held = this.get(view);
    held.memory ??= this.memory.allocate(held.bytes);
    return held.memory;
  }
}

/** Decodes all of an encoded tensor; where its file has the rows in another order, row by row. */
function decodeInto({ codec, shape }: View, place: FilePlace | undefined, source: Uint8Array, to: Float32Array): void {
  const order = place?.rowTo;
  if (!order) {
    decodeValues(codec!, source, to);
    return;
  }
  const [row, width] = [source.length / shape[0]!, sizeOf(shape) / shape[0]!];
  order.forEach((at, i) => {
    decodeValues(codec!, source.subarray(i * row, (i + 1) * row), to.subarray(at * width, (at + 1) * width));
  });
}

/** Which bytes of an encoded tensor hold these values: whole blocks, and whole rows where the file has them in another order. */
function storedAt({ codec, shape }: View, { from, count }: Stretch, order: Uint32Array | undefined) {
  const { block, bytes, group } = CODECS[codec!];
  if (group) throw new Error(`parts of ${codec} cannot be looked up: blocks share their scales`);
  const width = shape.at(-1)!;
  const start = order ? order.indexOf(from / width) * width : from;
  if (start % block !== 0 || count % block !== 0 || (order && count !== width))
    throw new Error(`${count} values are no whole number of ${codec} blocks`);
  return { at: (start / block) * bytes, bytes: (count / block) * bytes };
}

/** Whether an array is all of a buffer of so many bytes, and its memory as large. */
const spans = (data: TypedArray, bytes: number): boolean =>
  data.byteLength === bytes && data.buffer.byteLength === padded(bytes);

const floats = (bytes: Uint8Array): Float32Array => new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
