import "./no-telemetry.js";
import type { OnnxFile } from "../platform/platform.js";
import { ARRAYS, type DType, type HostTensor, type TypedArray, UserError } from "../tensor/index.js";
import { importOrt } from "./ort-package.js";

/** ONNX Runtime's names of the types that models take and give. */
const TYPES: Readonly<Record<string, DType>> = { float32: "f32", float16: "f16", int64: "i64", bool: "bool" };
const NAMES = Object.fromEntries(Object.entries(TYPES).map(([name, dtype]) => [dtype, name]));

/**
 * Opens an ONNX file on ONNX Runtime's processor, weights as they lie in it: nothing is repacked, so memory is what the file
 * and a run take. Throws UserError when it is not loaded.
 */
export async function openOnnx(path: string): Promise<OnnxFile> {
  const { InferenceSession, Tensor } = await importOrt();
  const extra = { session: { disable_prepacking: "1" } };
  const session = await InferenceSession.create(path, { executionProviders: ["cpu"], extra }).catch((error: Error) => {
    throw new UserError(`${path}: ONNX Runtime does not load it: ${error.message}`, { cause: error });
  });
  const typed = session.inputMetadata.flatMap((input) =>
    input.isTensor ? [[input.name, TYPES[input.type]!] as const] : [],
  );
  return {
    inputs: Object.fromEntries(typed),
    async run(inputs) {
      const feeds = Object.entries(inputs).map(([name, { dtype, shape, data }]) => {
        return [name, new Tensor(NAMES[dtype] as "float32", data as Float32Array, shape)] as const;
      });
      const results = await session.run(Object.fromEntries(feeds));
      return Object.fromEntries(Object.entries(results).map(([name, value]) => [name, hostTensor(value as Result)]));
    },
    close: () => session.release(),
  };
}

interface Result {
  readonly type: string;
  readonly dims: readonly number[];
  readonly data: unknown;
}

function hostTensor({ type, dims, data }: Result): HostTensor {
  const dtype = TYPES[type]!;
  const { buffer, byteOffset, length } = data as Float32Array;
  // Newer versions of Node give float16 as a Float16Array.
  return { dtype, shape: dims, data: new ARRAYS[dtype](buffer as ArrayBuffer, byteOffset, length) as TypedArray };
}
