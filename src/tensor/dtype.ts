/** Element types that a tensor can have in memory, in a graph or in a checkpoint. */
export type DType = "f64" | "f32" | "f16" | "bf16" | "i64" | "i32" | "i16" | "i8" | "u8" | "bool";

/** Bytes one element takes. */
export const BYTES: Readonly<Record<DType, number>> = {
  f64: 8,
  f32: 4,
  f16: 2,
  bf16: 2,
  i64: 8,
  i32: 4,
  i16: 2,
  i8: 1,
  u8: 1,
  bool: 1,
};

/** The typed array that holds each dtype in JavaScript; 16-bit floats are held as their bits. */
export const ARRAYS = {
  f64: Float64Array,
  f32: Float32Array,
  f16: Uint16Array,
  bf16: Uint16Array,
  i64: BigInt64Array,
  i32: Int32Array,
  i16: Int16Array,
  i8: Int8Array,
  u8: Uint8Array,
  bool: Uint8Array,
} as const;

export type TypedArray =
  | Float64Array
  | Float32Array
  | Uint16Array
  | BigInt64Array
  | Int32Array
  | Int16Array
  | Int8Array
  | Uint8Array;

/** Dimensions, outermost first. `[]` is a scalar. */
export type Shape = readonly number[];

/** Number of elements of a shape: the product of its dimensions (1 for a scalar). */
export function sizeOf(shape: Shape): number {
  return shape.reduce((n, d) => n * d, 1);
}

/** Bytes a tensor of this dtype and shape takes. */
export function bytesOf(dtype: DType, shape: Shape): number {
  return BYTES[dtype] * sizeOf(shape);
}

/** The memory of an array as bytes, not copied. */
export const asBytes = ({ buffer, byteOffset, byteLength }: ArrayBufferView<ArrayBufferLike>): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** A tensor in JavaScript memory, row-major. `data.length` equals the product of `shape`. */
export interface HostTensor {
  readonly dtype: DType;
  readonly shape: Shape;
  readonly data: TypedArray;
}

/** A row-major fp32 tensor over `data`; throws RangeError when the length is not the shape's size. */
export function f32(shape: Shape, data: Float32Array | readonly number[]): HostTensor {
  const array = data instanceof Float32Array ? data : Float32Array.from(data);
  if (array.length !== sizeOf(shape)) {
    throw new RangeError(`f32 tensor [${shape}] needs ${sizeOf(shape)} values, got ${array.length}`);
  }
  return { dtype: "f32", shape, data: array };
}
