import type { DType, Shape } from "../tensor/index.js";
import { ELEMENT, type OnnxModel, writeGraph, writeHead } from "./model.js";
import { ProtoWriter } from "./proto.js";

/** A weight of a model that is written piece by piece: its bytes are asked for once, when its turn comes. */
export interface StreamedTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape;
  readonly bytes: number;
  chunks(): Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
}

/** A file of a model and what is in it. */
export interface ModelFile {
  readonly name: string;
  readonly content: AsyncIterable<Uint8Array>;
}

/** Protobuf ends at 2 GB, and so do the buffers of browsers. */
const LARGEST_FILE = 2e9;
/** Tensors begin at multiples of this in external data. */
const ALIGNMENT = 64;

/**
 * A model with large weights as files that are written without ever being whole in memory: one file, or past 2 GB the graph
 * as `name` and the weights as `name_data`, `name_data_1`, ... (ONNX's external data, in the names that transformers.js has).
 */
export function modelFiles(
  name: string,
  model: OnnxModel,
  tensors: readonly StreamedTensor[],
  largestFile = LARGEST_FILE,
): ModelFile[] {
  const bytes = tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  if (bytes <= largestFile) return [{ name, content: oneFile(model, tensors) }];
  const parts = intoParts(tensors, largestFile).map((part, i) => ({
    part,
    name: `${name}_data${i === 0 ? "" : `_${i}`}`,
  }));
  return [
    { name, content: graphFile(model, parts) },
    ...parts.map(({ name, part }) => ({ name, content: dataFile(part) })),
  ];
}

async function* oneFile(model: OnnxModel, tensors: readonly StreamedTensor[]): AsyncGenerator<Uint8Array> {
  const graph = new ProtoWriter();
  writeGraph(graph, model);
  const body = graph.finish();
  const heads = tensors.map((tensor) => {
    const fields = tensorHead(tensor).opening(9, tensor.bytes).finish();
    const opening = new ProtoWriter().opening(5, fields.length + tensor.bytes).finish();
    return { tensor, opening, fields };
  });
  const length = heads.reduce((sum, h) => sum + h.opening.length + h.fields.length + h.tensor.bytes, body.length);
  yield writeHead(model).opening(7, length).finish();
  yield body;
  for (const { tensor, opening, fields } of heads) {
    yield opening;
    yield fields;
    yield* whole(tensor);
  }
}

interface Part {
  readonly name: string;
  readonly part: readonly StreamedTensor[];
}

async function* graphFile(model: OnnxModel, parts: readonly Part[]): AsyncGenerator<Uint8Array> {
  const w = writeHead(model);
  w.message(7, (graph) => {
    writeGraph(graph, model);
    for (const { name, part } of parts) {
      let offset = 0;
      for (const tensor of part) {
        const entry = (key: string, value: string | number) => (e: ProtoWriter) =>
          e.string(1, key).string(2, String(value));
        const place = tensorHead(tensor)
          .message(13, entry("location", name))
          .message(13, entry("offset", offset))
          .message(13, entry("length", tensor.bytes))
          .int(14, 1);
        graph.bytes(5, place.finish());
        offset += aligned(tensor.bytes);
      }
    }
  });
  yield w.finish();
}

async function* dataFile(tensors: readonly StreamedTensor[]): AsyncGenerator<Uint8Array> {
  for (const tensor of tensors) {
    yield* whole(tensor);
    yield new Uint8Array(aligned(tensor.bytes) - tensor.bytes);
  }
}

const aligned = (bytes: number): number => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

const tensorHead = ({ name, dtype, shape }: StreamedTensor): ProtoWriter =>
  shape
    .reduce((w, d) => w.int(1, d), new ProtoWriter())
    .int(2, ELEMENT[dtype])
    .string(8, name);

async function* whole(tensor: StreamedTensor): AsyncGenerator<Uint8Array> {
  let written = 0;
  for await (const chunk of tensor.chunks()) {
    written += chunk.length;
    yield chunk;
  }
  if (written !== tensor.bytes)
    throw new RangeError(`${tensor.name}: ${tensor.bytes} bytes were announced, ${written} came`);
}

function intoParts(tensors: readonly StreamedTensor[], largest: number): StreamedTensor[][] {
  const parts: StreamedTensor[][] = [[]];
  let bytes = 0;
  for (const tensor of tensors) {
    if (bytes > 0 && bytes + aligned(tensor.bytes) > largest) {
      parts.push([]);
      bytes = 0;
    }
    parts.at(-1)!.push(tensor);
    bytes += aligned(tensor.bytes);
  }
  return parts;
}
