/** Widens bfloat16 bits to fp32: exact, a bf16 is the upper half of a float32. */
export function bf16ToF32(source: Uint16Array, target = new Float32Array(source.length)): Float32Array {
  const bits = new Uint32Array(target.buffer, target.byteOffset, target.length);
  for (let i = 0; i < source.length; i++) bits[i] = source[i]! << 16;
  return target;
}

/** Narrows fp32 to bfloat16 bits, rounding to nearest even; NaN stays NaN. */
export function f32ToBf16(source: Float32Array, target = new Uint16Array(source.length)): Uint16Array {
  const bits = new Uint32Array(source.buffer, source.byteOffset, source.length);
  for (let i = 0; i < source.length; i++) {
    const b = bits[i]!;
    target[i] = (b & 0x7fffffff) > 0x7f800000 ? (b >>> 16) | 0x40 : (b + 0x7fff + ((b >>> 16) & 1)) >>> 16;
  }
  return target;
}

let halfTable: Float32Array | undefined;

/** All 65,536 float16 values as fp32, indexed by their bits. */
function halfValues(): Float32Array {
  if (halfTable) return halfTable;
  const table = new Float32Array(65536);
  for (let h = 0; h < 65536; h++) {
    const sign = h & 0x8000 ? -1 : 1;
    const exponent = (h >> 10) & 31;
    const fraction = h & 1023;
    table[h] =
      exponent === 0
        ? sign * fraction * 2 ** -24
        : exponent === 31
          ? fraction
            ? Number.NaN
            : sign * Number.POSITIVE_INFINITY
          : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  halfTable = table;
  return table;
}

/** The fp32 value of one float16 given as bits. */
export function f16Value(bits: number): number {
  return halfValues()[bits]!;
}

/** Widens float16 bits to fp32: exact. */
export function f16ToF32(source: Uint16Array, target = new Float32Array(source.length)): Float32Array {
  const table = halfValues();
  for (let i = 0; i < source.length; i++) target[i] = table[source[i]!]!;
  return target;
}

const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);

/** The float16 bits nearest to a number (ties to even); beyond 65504 it becomes infinity. */
export function f16Bits(value: number): number {
  scratch[0] = value;
  const b = scratchBits[0]!;
  const sign = (b >>> 16) & 0x8000;
  const magnitude = b & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude < 0x38800000) {
    const scaled = Math.abs(scratch[0]!) * 2 ** 24; // subnormal: count of 2^-24 steps
    const floor = Math.floor(scaled);
    const rest = scaled - floor;
    return sign | (rest > 0.5 || (rest === 0.5 && floor & 1) ? floor + 1 : floor);
  }
  return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
}

/** Narrows fp32 to float16 bits, rounding to nearest even. */
export function f32ToF16(source: Float32Array, target = new Uint16Array(source.length)): Uint16Array {
  for (let i = 0; i < source.length; i++) target[i] = f16Bits(source[i]!);
  return target;
}
