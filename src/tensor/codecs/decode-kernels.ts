import { type Code, FROM, get, i32, type Kernel, type Loaded, loadKernels, set, shrU32, v } from "../wasm.js";
import { GGML_KERNELS } from "./decode-kernels-ggml.js";
import { from, local, stores, to, widenHalf } from "./kernel-parts.js";
import { NF4_BLOCK, NF4_BYTES, NF4_VALUES } from "./nf4.js";
import { DOUBLE_BYTES, DOUBLE_GROUP, readScales } from "./nf4-double.js";
import { CODECS, type CodecName } from "./quants.js";

const BYTES_F32 = 4;
const f16: Kernel = {
  reads: 8,
  writes: 16,
  locals: 2,
  body: v.store(to, 0, widenHalf(v.load4U16(from, 0), local(0))),
};

const bf16: Kernel = { reads: 8, writes: 16, locals: 0, body: v.store(to, 0, v.shl32(v.load4U16(from, 0), 16)) };

const interleaved = (bytes: number, first: number): number[] =>
  Array.from({ length: 16 }, (_, i) => {
    const [unit, within] = [Math.floor(i / bytes), i % bytes];
    return first + Math.floor(unit / 2) * bytes + within + (unit % 2) * 16;
  });
const [LOW1, HIGH1, LOW2, HIGH2] = [interleaved(1, 0), interleaved(1, 8), interleaved(2, 0), interleaved(2, 8)] as [
  number[],
  number[],
  number[],
  number[],
];

/** Byte k of all sixteen values, as a table to look codes up in. */
function plane(k: number): Code {
  const bytes = new Uint8Array(Float32Array.from(NF4_VALUES).buffer);
  return v.constant(Array.from({ length: 16 }, (_, i) => bytes[4 * i + k]!));
}

/** Sixteen values for the codes in local `x`: their four bytes are looked up apart and put together. Uses `x` + 1 to `x` + 4. */
function lookUp(codes: Code, x: number): { prepare: Code; values: Code[] } {
  const part = (k: number) => v.swizzle(plane(k), get(x));
  const pairs = [LOW1, HIGH1].flatMap((lanes, i) =>
    [0, 2].flatMap((k, j) => set(x + 1 + 2 * i + j, v.shuffle(part(k), part(k + 1), lanes))),
  );
  const values = [0, 1].flatMap((i) =>
    [LOW2, HIGH2].map((lanes) => v.shuffle(get(x + 1 + 2 * i), get(x + 2 + 2 * i), lanes)),
  );
  return { prepare: [...set(x, codes), ...pairs], values };
}

/** A block whose codes begin at byte `first`. */
function nf4Body(scales: Code, first: number): Code {
  const [scale, high, low, codes] = [0, 1, 2, 3].map(local) as [number, number, number, number];
  return [
    ...set(scale, scales),
    ...[0, 16].flatMap((at) => [
      ...set(high, v.shrU8(v.load(from, first + at), 4)),
      ...set(low, v.and(v.load(from, first + at), v.splat8(15))),
      ...[LOW1, HIGH1].flatMap((lanes, i) => {
        const { prepare, values } = lookUp(v.shuffle(get(high), get(low), lanes), codes);
        const scaled = values.map((x) => v.mul(x, get(scale)));
        return [...prepare, ...stores(scaled, 8 * at + 64 * i)];
      }),
    ]),
  ];
}
const nf4: Kernel = { reads: NF4_BYTES, writes: 256, locals: 8, body: nf4Body(v.loadSplat32(from, 0), 4) };

/** Codes alone from address 0 on; the float32 scale of each block lies from SCALES on. */
const SCALES = 49152;
const NF4_CODES = NF4_BLOCK / 2;
const scaleAddress = shrU32(get(FROM), i32(Math.log2(NF4_CODES / BYTES_F32)));
const codesAlone: Kernel = {
  reads: NF4_CODES,
  writes: 256,
  locals: 8,
  body: nf4Body(v.loadSplat32(scaleAddress, SCALES), 0),
};

/** Storage types with a vectorised decoder; nf4_dq's wants its scales decoded. */
const KERNELS: Readonly<Partial<Record<CodecName, Kernel>>> = {
  ...GGML_KERNELS,
  f16,
  bf16,
  nf4,
  nf4_dq: codesAlone,
};

/** Values decoded at once: what is read and written stays in the processor's first caches. */
const CHUNK = 8192;
const OUT = 65536;
const PAGES = 2;

type Memory = Loaded & { readonly bytes: Uint8Array; readonly floats: Float32Array; readonly scales: Float32Array };
let loaded: Memory | undefined;

function load(): Memory {
  const kernels = loadKernels(KERNELS as Record<string, Kernel>, PAGES);
  const { buffer } = kernels;
  const [floats, scales] = [new Float32Array(buffer, OUT, CHUNK), new Float32Array(buffer, SCALES, CHUNK / NF4_BLOCK)];
  return { ...kernels, bytes: new Uint8Array(buffer), floats, scales };
}

/** Decodes `source`, a whole number of blocks of `name`, into `target`: as `CODECS[name]`, bit for bit, where there is a kernel with WebAssembly's vectors. */
export function decodeValues(name: CodecName, source: Uint8Array, target: Float32Array): void {
  const kernel = KERNELS[name];
  const { block, bytes, decode } = CODECS[name];
  if (!kernel) {
    decode(source, 0, target, 0, target.length / block);
    return;
  }
  loaded ??= load();
  if (name === "nf4_dq") {
    decodeDouble(loaded, source, target);
    return;
  }
  const step = kernel.writes / BYTES_F32; // values; float16 is taken four at a time
  const read = (step / block) * bytes;
  const whole = Math.floor(target.length / step);
  for (let first = 0; first < whole; first += CHUNK / step) {
    const count = Math.min(CHUNK / step, whole - first);
    loaded.bytes.set(source.subarray(first * read, (first + count) * read));
    loaded.run[name]!(0, OUT, count);
    target.set(count * step === CHUNK ? loaded.floats : loaded.floats.subarray(0, count * step), first * step);
  }
  const done = whole * step;
  if (done < target.length) decode(source, (done / block) * bytes, target, done, (target.length - done) / block);
}

/** nf4_dq: the scales of a group with plain loops, one for 64 values, then its codes with vectors. */
function decodeDouble({ bytes, floats, scales, run }: Memory, source: Uint8Array, target: Float32Array): void {
  const blocks = target.length / NF4_BLOCK;
  const group = new Float32Array(DOUBLE_GROUP.blocks);
  for (let first = 0, at = 0; first < blocks; first += DOUBLE_GROUP.blocks) {
    const count = Math.min(DOUBLE_GROUP.blocks, blocks - first);
    readScales(source, at, count, group);
    const codes = at + DOUBLE_GROUP.bytes + count;
    for (let done = 0; done < count; done += scales.length) {
      const part = Math.min(scales.length, count - done);
      scales.set(group.subarray(done, done + part));
      bytes.set(source.subarray(codes + done * NF4_CODES, codes + (done + part) * NF4_CODES));
      run.nf4_dq!(0, OUT, part);
      target.set(floats.subarray(0, part * NF4_BLOCK), (first + done) * NF4_BLOCK);
    }
    at += DOUBLE_GROUP.bytes + count * DOUBLE_BYTES;
  }
}
