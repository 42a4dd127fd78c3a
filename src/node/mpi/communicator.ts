import type { Communicator } from "../../api/index.js";
import type { MpiLibrary } from "./library.js";
import { cells, type Requests } from "./requests.js";

type Vector = Float32Array | Float64Array;

/** Up to so many bytes every rank is sent the whole vector of every other; above, each rank adds up a part. */
const SMALL = 2 ** 15;

/** Bytes of the first exchange of what ranks gather: the length, and a step's losses. */
const HEAD = 256;

/** Bytes of a vector that are added up at once: bounds the memory beside it. */
const PIECE = 2 ** 25;

/** The ranks of an MPI communicator. The memory that MPI reads and writes is this object's own. */
export class MpiCommunicator implements Communicator {
  readonly rank: number;
  readonly size: number;
  private readonly library: MpiLibrary;
  private readonly requests: Requests;
  private readonly handle: number | bigint;
  private readonly spaces = new Map<string, ArrayBuffer>();

  constructor(library: MpiLibrary, requests: Requests, handle: number | bigint = library.world) {
    this.library = library;
    this.requests = requests;
    this.handle = handle;
    const [rank, size] = [cells(), cells()];
    library.call("MPI_Comm_rank", handle, rank);
    library.call("MPI_Comm_size", handle, size);
    [this.rank, this.size] = [rank[0]!, size[0]!];
  }

  /**
   * Part i of the vector goes to rank i, which adds up all ranks' in their order, in double precision, and gives it to all: the sums
   * depend on nothing but the values and the number of ranks, and each rank sends and receives about twice the vector.
   */
  async sum(vector: Vector): Promise<void> {
    if (this.size === 1) return;
    const most = vector.byteLength <= SMALL ? vector.length : PIECE / vector.BYTES_PER_ELEMENT;
    for (let at = 0; at < vector.length; at += most) {
      const piece = vector.subarray(at, at + most);
      await (vector.byteLength <= SMALL ? this.sumWhole(piece) : this.sumInParts(piece));
    }
  }

  private async sumWhole(vector: Vector): Promise<void> {
    const own = this.floats(vector, "own", vector.length);
    const all = this.floats(vector, "all", vector.length * this.size);
    own.set(vector);
    await this.allgather(own, all);
    addUp(all, vector);
  }

  private async sumInParts(vector: Vector): Promise<void> {
    const length = Math.ceil(vector.length / this.size);
    const whole = this.floats(vector, "whole", length * this.size);
    const all = this.floats(vector, "all", length * this.size);
    const own = this.floats(vector, "own", length);
    whole.set(vector);
    whole.fill(0, vector.length);
    const { call, byte } = this.library;
    const count = own.byteLength;
    await this.requests.run((request) =>
      call("MPI_Ialltoall", whole, count, byte, all, count, byte, this.handle, request),
    );
    addUp(all, own);
    await this.allgather(own, whole);
    vector.set(whole.subarray(0, vector.length));
  }

  async broadcast(data: Uint8Array, from: number): Promise<void> {
    if (this.size === 1) return;
    const { call, byte } = this.library;
    for (let at = 0; at < data.length; at += PIECE) {
      const piece = data.subarray(at, at + PIECE);
      const own = new Uint8Array(this.space("whole", piece.length), 0, piece.length);
      own.set(piece);
      await this.requests.run((request) => call("MPI_Ibcast", own, own.length, byte, from, this.handle, request));
      piece.set(own);
    }
  }

  /** What is short goes with its length, in one exchange; where a rank has more, its rest follows in a second one. */
  async gather(data: Uint8Array): Promise<Uint8Array[]> {
    const firsts = await this.gatherEqual(HEAD, (own) => {
      new DataView(own.buffer).setFloat64(0, data.length);
      own.set(data.subarray(0, HEAD - 8), 8);
    });
    const lengths = firsts.map((first) => new DataView(first.buffer).getFloat64(0));
    const more = Math.max(...lengths) - (HEAD - 8);
    const rests = more > 0 ? await this.gatherEqual(more, (own) => own.set(data.subarray(HEAD - 8))) : undefined;
    return lengths.map((length, i) => {
      const whole = new Uint8Array(length);
      whole.set(firsts[i]!.subarray(8, 8 + length));
      if (length > HEAD - 8) whole.set(rests![i]!.subarray(0, length - (HEAD - 8)), HEAD - 8);
      return whole;
    });
  }

  /** So many bytes of each rank, which `fill` writes. */
  private async gatherEqual(count: number, fill: (own: Uint8Array) => void): Promise<Uint8Array[]> {
    const own = new Uint8Array(this.space("own", count), 0, count);
    const all = new Uint8Array(this.space("all", count * this.size), 0, count * this.size);
    fill(own);
    await this.allgather(own, all);
    return Array.from({ length: this.size }, (_, i) => all.slice(i * count, (i + 1) * count));
  }

  barrier(): Promise<void> {
    return this.requests.run((request) => this.library.call("MPI_Ibarrier", this.handle, request));
  }

  async send(to: number, tag: number, data: Uint8Array): Promise<void> {
    const own = new Uint8Array(new ArrayBuffer(data.length));
    own.set(data);
    const { call, byte } = this.library;
    await this.requests.run((request) => call("MPI_Isend", own, own.length, byte, to, tag, this.handle, request));
  }

  receive(from: number, tag: number): Promise<Uint8Array> {
    return this.requests.receive(this.handle, from, tag);
  }

  async split(group: number): Promise<Communicator> {
    const handle = this.library.handle === "int" ? cells() : new BigUint64Array(new ArrayBuffer(8));
    this.library.call("MPI_Comm_split", this.handle, group, this.rank, handle);
    this.library.call("MPI_Comm_set_errhandler", handle[0]!, this.library.errorsReturn);
    return new MpiCommunicator(this.library, this.requests, handle[0]!);
  }

  /** What each rank has of the same length, one behind the other. */
  private async allgather(own: Uint8Array | Vector, all: Uint8Array | Vector): Promise<void> {
    const { call, byte } = this.library;
    const count = own.byteLength;
    await this.requests.run((request) =>
      call("MPI_Iallgather", own, count, byte, all, count, byte, this.handle, request),
    );
  }

  private floats<V extends Vector>(like: V, name: string, length: number): V {
    const buffer = this.space(name, length * like.BYTES_PER_ELEMENT);
    return new (like.constructor as new (buffer: ArrayBuffer, offset: number, length: number) => V)(buffer, 0, length);
  }

  /** Memory of at least so many bytes, kept from call to call. */
  private space(name: string, bytes: number): ArrayBuffer {
    const known = this.spaces.get(name);
    if (known && known.byteLength >= bytes) return known;
    const made = new ArrayBuffer(Math.max(4096, bytes));
    this.spaces.set(name, made);
    return made;
  }
}

/** Adds up vectors that lie one behind the other, in their order. */
function addUp(all: Vector, sum: Vector): void {
  const { length } = sum;
  for (let i = 0; i < length; i++) {
    let x = all[i]!;
    for (let at = i + length; at < all.length; at += length) x += all[at]!;
    sum[i] = x;
  }
}
