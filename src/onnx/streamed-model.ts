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
/** Weights begin at multiples of this, so that an engine can use them where they lie. */
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
  const parts = inParts(name, tensors, largestFile);
  if (!parts) return [{ name, content: oneFile(model, tensors) }];
  return [
    { name, content: once(encodeWithPlaces(model, parts.flatMap(placesIn))) },
    ...parts.map((part) => ({ name: part.file, content: dataFile(part) })),
  ];
}

/** Where the bytes of a weight lie: in a file beside the model, or the model itself. */
export interface TensorPlace {
  readonly tensor: Omit<StreamedTensor, "chunks">;
  readonly file: string;
  readonly offset: number;
}

/** Where `modelFiles`, given the same, puts each weight. */
export function tensorPlaces(
  name: string,
  model: OnnxModel,
  tensors: readonly StreamedTensor[],
  largestFile = LARGEST_FILE,
): TensorPlace[] {
  const parts = inParts(name, tensors, largestFile);
  if (parts) return parts.flatMap(placesIn);
  let at = graphStart(model, tensors).length;
  return tensors.map((tensor) => {
    const offset = at + before(tensor).length;
    at = offset + tensor.bytes + behind(tensor).length;
    return { tensor, file: name, offset };
  });
}

/** A model whose weights lie in other files of its folder. */
export function encodeWithPlaces(model: OnnxModel, places: readonly TensorPlace[]): Uint8Array {
  return writeHead(model)
    .message(7, (graph) => {
      writeGraph(graph, model);
      for (const { tensor, file, offset } of places) {
        const entry = (key: string, value: string | number) => (e: ProtoWriter) =>
          e.string(1, key).string(2, String(value));
        const fields = tensorFields(tensor)
          .message(13, entry("location", file))
          .message(13, entry("offset", offset))
          .message(13, entry("length", tensor.bytes))
          .int(14, 1);
        graph.bytes(5, fields.finish());
      }
    })
    .finish();
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

async function* oneFile(model: OnnxModel, tensors: readonly StreamedTensor[]): AsyncGenerator<Uint8Array> {
  yield graphStart(model, tensors);
  for (const tensor of tensors) {
    yield before(tensor);
    yield* whole(tensor);
    yield behind(tensor);
  }
}

/** All of a file up to the first weight, filled up by the graph's doc_string. */
function graphStart(model: OnnxModel, tensors: readonly StreamedTensor[]): Uint8Array {
  const weights = tensors.reduce((sum, t) => sum + before(t).length + t.bytes + behind(t).length, 0);
  const graph = new ProtoWriter();
  writeGraph(graph, model);
  const body = graph.finish();
  return filledUp((filler) => {
    const rest = new ProtoWriter().string(10, filler).finish();
    const head = writeHead(model).opening(7, body.length + rest.length + weights);
    return joined(head.finish(), joined(body, rest));
  });
}

/** A weight's fields up to its bytes, filled up by its doc_string. */
function before(tensor: StreamedTensor): Uint8Array {
  return filledUp((filler) => {
    const fields = tensorFields(tensor).string(12, filler).opening(9, tensor.bytes).finish();
    const length = fields.length + tensor.bytes + behind(tensor).length;
    return joined(new ProtoWriter().opening(5, length).finish(), fields);
  });
}

/** What fills a weight's bytes up: its doc_string once more, of which the last counts. */
function behind({ bytes }: StreamedTensor): Uint8Array {
  const rest = aligned(bytes) - bytes;
  if (rest === 0) return new Uint8Array();
  const length = rest < 2 ? rest + ALIGNMENT : rest;
  return new ProtoWriter().string(12, " ".repeat(length - 2)).finish();
}

/** The first result, over growing fillers, that ends where a weight may begin. */
function filledUp(make: (filler: string) => Uint8Array): Uint8Array {
  for (let filler = ""; ; filler += " ") {
    const bytes = make(filler);
    if (bytes.length % ALIGNMENT === 0) return bytes;
  }
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

/** A file of weights alone. */
interface Part {
  readonly file: string;
  readonly tensors: readonly StreamedTensor[];
}

async function* dataFile({ tensors }: Part): AsyncGenerator<Uint8Array> {
  for (const tensor of tensors) {
    yield* whole(tensor);
    yield new Uint8Array(aligned(tensor.bytes) - tensor.bytes);
  }
}

function placesIn({ file, tensors }: Part): TensorPlace[] {
  let offset = 0;
  return tensors.map((tensor) => {
    const place = { tensor, file, offset };
    offset += aligned(tensor.bytes);
    return place;
  });
}

const aligned = (bytes: number): number => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

const tensorFields = ({ name, dtype, shape }: Omit<StreamedTensor, "chunks">): ProtoWriter =>
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

/** The weights in files of their own, or undefined where they fit beside the graph. */
function inParts(name: string, tensors: readonly StreamedTensor[], largest: number): Part[] | undefined {
  if (tensors.reduce((sum, { bytes }) => sum + bytes, 0) <= largest) return undefined;
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
  return parts.map((part, i) => ({ file: `${name}_data${i === 0 ? "" : `_${i}`}`, tensors: part }));
}
