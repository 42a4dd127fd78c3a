import { isOpen, type OpName, topological, type Value } from "../graph/index.js";
import { ARRAYS, type DType, type HostTensor, type Shape, type TypedArray } from "../tensor/index.js";
import { NodeList } from "./node-list.js";
import { fixedSizes, reshapeSizes } from "./open-sizes.js";
import type { Capabilities } from "./providers.js";

/** Collects the ONNX nodes of one function. */
export class Emitter extends NodeList {
  readonly names = new Map<Value, string>();
  readonly capabilities: Capabilities;
  /** How many nodes (and outputs) read a value: a fusion may only swallow what nobody else reads. */
  readonly uses = new Map<Value, number>();
  /** The graph's sigmoid of a value, where it has one. */
  readonly sigmoids = new Map<Value, Value>();
  /** How many positions each text's cache holds. */
  readonly counts = new Map<Value, string>();
  /** What is written back into inputs. */
  readonly updates: { readonly input: Value<"input">; readonly from: string }[] = [];
  /** What a reshaped result was made of. */
  private readonly origins = new Map<string, { readonly name: string; readonly shape: Shape }>();
  private readonly lowerOne: Lower<OpName>;

  /** `lowerOne` emits a value whose inputs it asks for. */
  constructor(capabilities: Capabilities, lowerOne: Lower<OpName>) {
    super();
    this.capabilities = capabilities;
    this.lowerOne = lowerOne;
  }

  zeros(dtype: DType, shape: readonly number[]): string {
    const value: HostTensor = { dtype, shape: [1], data: new ARRAYS[dtype](1) as TypedArray };
    return this.emit("ConstantOfShape", [this.ints(fixedSizes(shape))], { value });
  }

  /** `name` in another shape. Reshapes of fixed sizes in a row become one; back to the first shape, none. */
  reshape(name: string, from: Shape, to: Shape): string {
    const fixed = ![...from, ...to].some(isOpen);
    const origin = (fixed && this.origins.get(name)) || { name, shape: from };
    if (fixed && `${origin.shape}` === `${to}`) return origin.name;
    const reshaped = this.emit("Reshape", [origin.name, this.ints(reshapeSizes(origin.shape, to))]);
    if (fixed) this.origins.set(reshaped, origin);
    return reshaped;
  }

  /** Lowers the composition that `v` stands for. */
  expanded(v: Value, composition: Value): string {
    countUses(this, topological([composition]), new Set(topological(v.inputs)));
    return this.value(composition);
  }

  /** Lowers what `v` needs and then `v`; returns its name. Values already lowered are shared. */
  value(v: Value): string {
    const known = this.names.get(v);
    if (known !== undefined) return known;
    const name = this.lowerOne(this, v);
    this.names.set(v, name);
    return name;
  }
}

/** Emits the nodes of one value; returns what its result is called. */
export type Lower<K extends OpName> = (e: Emitter, v: Value<K>) => string;

/** Counts who reads each of the values that are not `counted` already. */
export function countUses(e: Emitter, order: readonly Value[], counted: ReadonlySet<Value> = new Set()): void {
  for (const v of order) if (!counted.has(v)) for (const x of v.inputs) e.uses.set(x, (e.uses.get(x) ?? 0) + 1);
}
