import type { HostTensor } from "../tensor/index.js";
import type { Attribute, OnnxNode } from "./model.js";

/** The domain of ONNX Runtime's own operators. */
export const MICROSOFT = "com.microsoft";

/** Nodes in the order of their making, each result with a name of its own, and the small constants that they read. */
export class NodeList {
  readonly nodes: OnnxNode[] = [];
  readonly initializers = new Map<string, HostTensor>();
  private readonly constants = new Map<string, string>();
  private count = 0;

  emit(type: string, inputs: readonly string[], attributes: Record<string, Attribute> = {}, domain = ""): string {
    return this.emitAll(type, inputs, 1, attributes, domain)[0]!;
  }

  /** A node of several results. */
  emitAll(
    type: string,
    inputs: readonly string[],
    results: number,
    attributes: Record<string, Attribute> = {},
    domain = "",
  ): string[] {
    const outputs = Array.from({ length: results }, () => `%${this.count++}`);
    this.nodes.push({ type, domain, inputs, outputs, attributes });
    return outputs;
  }

  tensor(value: HostTensor): string {
    const small = value.data.length <= 16 ? `${value.dtype}[${value.shape}]${[...value.data].join()}` : undefined;
    const known = small && this.constants.get(small);
    if (known) return known;
    const name = `%${this.count++}`;
    this.initializers.set(name, value);
    if (small) this.constants.set(small, name);
    return name;
  }

  /** A one-dimensional int64 constant, as shapes and axes are given. */
  ints(values: readonly number[]): string {
    return this.tensor({ dtype: "i64", shape: [values.length], data: BigInt64Array.from(values, BigInt) });
  }

  scalar(value: number): string {
    return this.tensor({ dtype: "f32", shape: [], data: Float32Array.of(value) });
  }
}
