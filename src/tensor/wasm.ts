/** Just enough of a WebAssembly assembler for kernels over a small memory: expressions are the bytes that compute them. */
export type Code = readonly number[];

function unsigned(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  do {
    const low = rest % 128;
    rest = Math.floor(rest / 128);
    bytes.push(rest ? low | 128 : low);
  } while (rest);
  return bytes;
}

function signed(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>= 7) {
    const low = rest & 127;
    const last = (rest >> 7 === 0 && !(low & 64)) || (rest >> 7 === -1 && Boolean(low & 64));
    bytes.push(last ? low : low | 128);
    if (last) return bytes;
  }
}

export const get = (local: number): Code => [0x20, ...unsigned(local)];
export const set = (local: number, value: Code): Code => [...value, 0x21, ...unsigned(local)];
export const i32 = (value: number): Code => [0x41, ...signed(value)];
export const add32 = (a: Code, b: Code): Code => [...a, ...b, 0x6a];
const sub32 = (a: Code, b: Code): Code => [...a, ...b, 0x6b];
export const and32 = (a: Code, b: Code): Code => [...a, ...b, 0x71];
export const or32 = (a: Code, b: Code): Code => [...a, ...b, 0x72];
export const shl32 = (a: Code, b: Code): Code => [...a, ...b, 0x74];
export const shrU32 = (a: Code, b: Code): Code => [...a, ...b, 0x76];
export const load8s = (address: Code, offset: number): Code => [...address, 0x2c, 0, ...unsigned(offset)];
export const load8u = (address: Code, offset: number): Code => [...address, 0x2d, 0, ...unsigned(offset)];
export const load16u = (address: Code, offset: number): Code => [...address, 0x2f, 0, ...unsigned(offset)];

/** Vector instructions of two operands by their number (WebAssembly SIMD proposal, BinarySIMD.md). */
const BINARY = {
  swizzle: 14,
  equal8: 35,
  and: 78,
  andNot: 79,
  or: 80,
  notEqual: 66,
  greater: 68,
  geU32: 64,
  atLeast: 70,
  less32: 57,
  narrowS8: 101,
  narrowS16: 133,
  narrow8: 102,
  sub8: 113,
  narrow16: 134,
  add32: 174,
  add: 228,
  sub: 229,
  mul: 230,
  div: 231,
  max: 233,
} as const;
/** Of one vector. */
const UNARY = {
  lowS16: 135,
  highS16: 136,
  lowU16: 137,
  highU16: 138,
  lowS32: 167,
  highS32: 168,
  lowU32: 169,
  highU32: 170,
  negate32: 161,
  floor: 104,
  nearest: 106,
  abs: 224,
  toInt: 248,
  toFloat: 250,
} as const;
/** Of a vector and a number of bits. */
const SHIFT = { shl8: 107, shrU8: 109, shl16: 139, shrU16: 141, shl32: 171, shrU32: 173 } as const;
/** Of an address: a vector, four 16-bit numbers widened to 32 bits, one 32-bit number in all lanes. */
const LOAD = { load: 0, load4U16: 4, loadSplat32: 9 } as const;

const simd = (op: number, ...operands: Code[]): Code => [...operands.flat(), 0xfd, ...unsigned(op)];
type Ops<T, F> = { readonly [K in keyof T]: F };

function table<T extends Readonly<Record<string, number>>, F>(numbers: T, make: (op: number) => F): Ops<T, F> {
  return Object.fromEntries(Object.entries(numbers).map(([name, op]) => [name, make(op)])) as Ops<T, F>;
}

/** Vector expressions. Lanes: 8, 16, 32 are integers of that width, no number is float32. */
export const v = {
  ...table(BINARY, (op) => (a: Code, b: Code) => simd(op, a, b)),
  ...table(UNARY, (op) => (a: Code) => simd(op, a)),
  ...table(SHIFT, (op) => (a: Code, bits: number) => simd(op, a, i32(bits))),
  ...table(
    LOAD,
    (op) =>
      (address: Code, offset: number): Code => [...simd(op, address), 0, ...unsigned(offset)],
  ),
  splat8: (value: number): Code => simd(15, i32(value)),
  splat32: (value: Code): Code => simd(17, value),
  constant: (bytes: Iterable<number>): Code => [0xfd, 12, ...bytes],
  /** Lanes of bytes chosen out of both operands: 0 to 15 of a, 16 to 31 of b. */
  shuffle: (a: Code, b: Code, lanes: readonly number[]): Code => [...simd(13, a, b), ...lanes],
  store: (address: Code, offset: number, value: Code): Code => [...simd(11, address, value), 0, ...unsigned(offset)],
};

/** A function (from, to, count): runs `body` for each of `count` >= 1 blocks, moving both addresses on after each. */
export interface Kernel {
  /** Bytes a block takes where it is read, and where it is written. */
  readonly reads: number;
  readonly writes: number;
  /** Vector locals, numbered from `LOCALS`. */
  readonly locals: number;
  readonly body: Code;
}

/** The parameters and the first vector local. */
export const [FROM, TO, LOCALS] = [0, 1, 3] as const;
const COUNT = 2;

const VECTOR = 0x7b;
const I32 = 0x7f;
const vector = (items: readonly Code[]): Code => [...unsigned(items.length), ...items.flat()];
const sized = (bytes: Code): Code => [...unsigned(bytes.length), ...bytes];
const section = (id: number, content: Code): Code => [id, ...sized(content)];
const name = (text: string): Code => sized([...new TextEncoder().encode(text)]);

function functionBody({ reads, writes, locals, body }: Kernel): Code {
  const moved = [
    ...set(FROM, add32(get(FROM), i32(reads))),
    ...set(TO, add32(get(TO), i32(writes))),
    ...sub32(get(COUNT), i32(1)),
    ...[0x22, COUNT, 0x0d, 0], // as long as blocks are left, again
  ];
  const declared = locals ? vector([[...unsigned(locals), VECTOR]]) : vector([]);
  return sized([...declared, 0x03, 0x40, ...body, ...moved, 0x0b, 0x0b]);
}

/** The bytes of a module that exports its memory of `pages` x 64 KB as `memory`, and every kernel under its name. */
function assemble(kernels: Readonly<Record<string, Kernel>>, pages: number): Uint8Array<ArrayBuffer> {
  const names = Object.keys(kernels);
  const exported = [[...name("memory"), 2, 0], ...names.map((key, i) => [...name(key), 0, i])];
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, vector([[0x60, ...vector([[I32], [I32], [I32]]), ...vector([])]])),
    ...section(3, vector(names.map(() => [0]))),
    ...section(5, vector([[0, ...unsigned(pages)]])),
    ...section(7, vector(exported)),
    ...section(10, vector(names.map((key) => functionBody(kernels[key]!)))),
  ]);
}

type Run = (from: number, to: number, count: number) => void;

/** Kernels ready to run, with their memory. */
export interface Loaded {
  readonly run: Readonly<Record<string, Run>>;
  readonly buffer: ArrayBuffer;
}

/** The part of the WebAssembly namespace that is used; every engine that runs this project has it. */
interface WebAssemblyPart {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: Readonly<Record<string, unknown>> };
}

/** Assembles and instantiates kernels over a memory of `pages` x 64 KB. */
export function loadKernels(kernels: Readonly<Record<string, Kernel>>, pages: number): Loaded {
  const { Module, Instance } = (globalThis as unknown as { WebAssembly: WebAssemblyPart }).WebAssembly;
  const { memory, ...run } = new Instance(new Module(assemble(kernels, pages))).exports;
  return { run: run as Record<string, Run>, buffer: (memory as { readonly buffer: ArrayBuffer }).buffer };
}
