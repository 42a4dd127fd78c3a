import { asBytes, type DType, type HostTensor, type Shape } from "../tensor/index.js";
import { ProtoWriter } from "./proto.js";

/** ONNX element types: TensorProto.DataType, and ONNXTensorElementDataType of the C API. */
export const ELEMENT: Readonly<Record<DType, number>> = {
  f32: 1,
  u8: 2,
  i8: 3,
  i16: 5,
  i32: 6,
  i64: 7,
  bool: 9,
  f16: 10,
  f64: 11,
  bf16: 16,
};

export type Attribute = number | { float: number } | string | readonly number[] | HostTensor;

export interface OnnxNode {
  readonly type: string;
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

export interface Named {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape;
}

/** An input or output, some of whose sizes may be known only when it runs; the same name is the same size. */
export type Open = Omit<Named, "shape"> & { readonly shape: readonly (number | string)[] };

export interface OnnxModel {
  readonly name: string;
  readonly nodes: readonly OnnxNode[];
  readonly initializers: ReadonlyMap<string, HostTensor>;
  readonly inputs: readonly Open[];
  readonly outputs: readonly Open[];
  /** Initializers whose values are not in the model: each in a file of its own name, which the engine is given in memory. */
  readonly external?: readonly Named[];
}

/** The operator sets that lowered models use. */
const OPSETS: readonly (readonly [string, number])[] = [
  ["", 21],
  ["com.microsoft", 1],
];

/** TensorProto.DataLocation */
const EXTERNAL = 1;

/** Serialises a model as an ONNX ModelProto (IR version 10). */
export function encodeModel(model: OnnxModel): Uint8Array {
  const w = writeHead(model);
  w.message(7, (graph) => writeGraph(graph, model));
  return w.finish();
}

/** Everything of a ModelProto but its graph. */
export function writeHead({ nodes }: OnnxModel): ProtoWriter {
  const used = new Set(["", ...nodes.map((n) => n.domain)]);
  const w = new ProtoWriter().int(1, 10).string(2, "lowrank");
  for (const [domain, version] of OPSETS)
    if (used.has(domain)) w.message(8, (o) => o.string(1, domain).int(2, version));
  return w;
}

/** The fields of a GraphProto. */
export function writeGraph(graph: ProtoWriter, model: OnnxModel): void {
  for (const node of model.nodes) graph.message(1, (n) => writeNode(n, node));
  graph.string(2, model.name);
  for (const [name, tensor] of model.initializers) graph.message(5, (t) => writeTensor(t, tensor, name));
  for (const v of model.external ?? []) graph.message(5, (t) => writeExternal(t, v));
  for (const v of model.inputs) graph.message(11, (i) => writeValueInfo(i, v));
  for (const v of model.outputs) graph.message(12, (o) => writeValueInfo(o, v));
}

function writeNode(w: ProtoWriter, node: OnnxNode): void {
  for (const name of node.inputs) w.string(1, name);
  for (const name of node.outputs) w.string(2, name);
  w.string(4, node.type);
  for (const [name, value] of Object.entries(node.attributes))
    w.message(5, (a) => writeAttribute(a.string(1, name), value));
  if (node.domain) w.string(7, node.domain);
}

function writeAttribute(w: ProtoWriter, value: Attribute): void {
  if (typeof value === "number") w.int(3, value).int(20, 2);
  else if (typeof value === "string") w.string(4, value).int(20, 3);
  else if (Array.isArray(value)) {
    for (const x of value as readonly number[]) w.int(8, x);
    w.int(20, 7);
  } else if ("float" in value) w.float(2, value.float).int(20, 1);
  else w.message(5, (t) => writeTensor(t, value as HostTensor, "")).int(20, 4);
}

function writeTensor(w: ProtoWriter, { dtype, shape, data }: HostTensor, name: string): void {
  for (const d of shape) w.int(1, d);
  w.int(2, ELEMENT[dtype]);
  if (name) w.string(8, name);
  w.bytes(9, asBytes(data));
}

function writeExternal(w: ProtoWriter, { name, dtype, shape }: Named): void {
  for (const d of shape) w.int(1, d);
  w.int(2, ELEMENT[dtype]).string(8, name);
  w.message(13, (entry) => entry.string(1, "location").string(2, name)).int(14, EXTERNAL);
}

function writeValueInfo(w: ProtoWriter, { name, dtype, shape }: Open): void {
  w.string(1, name).message(2, (type) =>
    type.message(1, (tensor) =>
      tensor.int(1, ELEMENT[dtype]).message(2, (s) => {
        for (const d of shape) s.message(1, (dim) => (typeof d === "string" ? dim.string(2, d) : dim.int(1, d)));
      }),
    ),
  );
}
