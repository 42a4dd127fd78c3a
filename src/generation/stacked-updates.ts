import { type KindSite, kindOf, stackedAdapter, type VectorName, weightNorms } from "../adapters/index.js";
import type { Fn } from "../graph/index.js";
import { weightName } from "../models/index.js";
import { type Device, type Program, tensor, type View } from "../runtime/index.js";

/** One linear layer's adapter on a device. */
export interface ResidentModule {
  readonly layer: number;
  readonly name: string;
  readonly site: KindSite;
  /** The adapter's tensors by checkpoint name; also `weight_norm` [out], where its norms are known already. */
  readonly tensors: ReadonlyMap<string, View>;
}

/** What decoding reads of a module's update: b^T alpha [r, out], and its gain and bias [1, out] where its kind has them. */
export type StackedUpdate = { readonly stacked: View } & Readonly<Partial<Record<VectorName, View>>>;

/** Makes what decoding reads out of adapters' tensors, and of the base's weights where a kind goes by their norms. */
export class StackedUpdates {
  private readonly device: Device;
  private readonly weights: ReadonlyMap<string, View>;
  private readonly programs = new Map<string, Program>();
  private readonly norms = new Map<string, Program>();
  private readonly scratch = new Map<number, View>();

  constructor(device: Device, weights: ReadonlyMap<string, View>) {
    this.device = device;
    this.weights = weights;
  }

  write(module: ResidentModule, into: StackedUpdate): void {
    const { site } = module;
    const given = (name: string) => module.tensors.get(weightName(`${module.name}.${name}`, module.layer));
    const own = (name: string) => given(name)!;
    const norms = kindOf(site.kind).startsAtNorms ? (given("weight_norm") ?? this.normsOf(module, own)) : undefined;
    const program = this.compiled(this.programs, site, stackedAdapter);
    const inputs = program.inputs.map((name) => [name, name === "weight_norm" ? norms! : own(name)]);
    this.device.run(program, Object.fromEntries(inputs), { ...into });
  }

  /** Frees what weights were read with: they may have been decoded for it. */
  done(): void {
    for (const program of this.norms.values()) this.device.release(program);
    for (const { buffer } of this.scratch.values()) this.device.free(buffer);
    this.norms.clear();
    this.scratch.clear();
  }

  dispose(): void {
    this.done();
    for (const program of this.programs.values()) this.device.release(program);
    this.programs.clear();
  }

  private normsOf({ layer, name, site }: ResidentModule, own: (name: string) => View): View {
    const program = this.compiled(this.norms, site, (of) => weightNorms("", of));
    let norms = this.scratch.get(site.out);
    if (!norms) this.scratch.set(site.out, (norms = tensor(this.device, "f32", [site.out])));
    const weight = this.weights.get(weightName(`${name}.weight`, layer))!;
    const inputs = program.inputs.map((input) => [input, input === "weight" ? weight : own(input)]);
    this.device.run(program, Object.fromEntries(inputs), { norms });
    return norms;
  }

  private compiled(programs: Map<string, Program>, site: KindSite, make: (site: KindSite) => Fn): Program {
    const { kind, out, in: into, r, scale } = site;
    const key = `${kind} ${out} ${into} ${r} ${scale}`;
    let program = programs.get(key);
    if (!program) programs.set(key, (program = this.device.compile(make(site))));
    return program;
  }
}
