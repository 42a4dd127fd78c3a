import { OPEN, type SavePolicy } from "../graph/index.js";
import {
  type Adaptation,
  attentionInput,
  attentionOutput,
  embed,
  embedBackward,
  type LlamaConfig,
  lossHead,
  scatterRows,
  selfAttention,
} from "../models/index.js";
import type { Device, Program } from "../runtime/index.js";
import type { LayerPlan } from "./layer-plan.js";
import { ProgramCache, type ProgramPair } from "./programs.js";

/** Longer samples have attention programs of their own, in which scores of later keys are never computed. */
const LONGEST_OPEN = 512;

/**
 * The compiled programs of a model's training step, made on first use and shared by all layers of the same kind. In reduced
 * precision they have open sizes: that engine takes long to compile one and hardly longer to run it.
 */
export class BlockPrograms {
  private readonly cache: ProgramCache;
  private readonly config: LlamaConfig;
  private readonly save: SavePolicy;
  private readonly open: boolean;

  constructor(device: Device, config: LlamaConfig, save: SavePolicy) {
    this.open = device.precision === "reduced";
    this.cache = new ProgramCache(device);
    this.config = config;
    this.save = save;
  }

  embed(n: number): Program {
    return this.cache.single(`embed ${n}`, () => embed(this.config, n));
  }

  private size(n: number): number {
    return this.open ? OPEN : n;
  }

  /** Norm, q, k, v of a block. Its backward adds `d_residual`, the gradient that reaches x around the block's attention. */
  input(layer: LayerPlan, tokens: number, train: boolean): ProgramPair {
    const n = this.size(tokens);
    const adaptation = train ? layer.adaptation : { ...layer.adaptation, dropout: 0 };
    const wrt = train ? [...layer.inputTrainables, ...(layer.needsX ? ["x"] : [])] : [];
    const make = () => {
      const f = attentionInput(this.config, n, adaptation);
      return layer.needsX ? { ...f, outputs: { ...f.outputs, residual: f.inputs.x! } } : f;
    };
    const { save } = this;
    return this.cache.pair(key("input", n, adaptation, wrt), make, {
      wrt,
      save,
      precision: "reduced",
      drop: ["residual"],
    });
  }

  attention(tokens: number, train: boolean): ProgramPair {
    const t = tokens > LONGEST_OPEN ? tokens : this.size(tokens);
    const wrt = train ? ["q", "k", "v"] : [];
    return this.cache.pair(`attention ${t} ${train}`, () => selfAttention(this.config, t), {
      wrt,
      save: "rotations",
      precision: "reduced",
    });
  }

  /** Output projection and MLP of a block. */
  output(layer: LayerPlan, tokens: number, train: boolean): ProgramPair {
    const n = this.size(tokens);
    const adaptation = train ? layer.adaptation : { ...layer.adaptation, dropout: 0 };
    const flows = [...(layer.needsAttention ? ["o"] : []), ...(layer.needsX ? ["x"] : [])];
    const wrt = train ? [...layer.outputTrainables, ...flows] : [];
    const { save } = this;
    const make = () => attentionOutput(this.config, n, adaptation);
    return this.cache.pair(key("output", n, adaptation, wrt), make, { wrt, save, precision: "reduced" });
  }

  head(tokens: number, rows: number, mode: "loss" | "rows" | "weights"): Program {
    const [n, m] = [this.size(tokens), this.size(rows)];
    const options = { forwardOnly: mode === "loss", weightGradients: mode === "weights" };
    return this.cache.single(`head ${n} ${m} ${mode}`, () => lossHead(this.config, n, m, options), "reduced");
  }

  scatterRows(n: number, m: number): Program {
    return this.cache.single(`scatter ${n} ${m}`, () => scatterRows(this.config.hiddenSize, n, m));
  }

  embedBackward(n: number): Program {
    return this.cache.single(`embed backward ${n}`, () => embedBackward(this.config, n, this.config.tieWordEmbeddings));
  }

  dispose(): void {
    this.cache.dispose();
  }
}

/** Layers share a program when their adapters have the same ranks and scales, and the same inputs are trained. */
const key = (part: string, n: number, { lora, dropout = 0 }: Adaptation, wrt: readonly string[]): string =>
  `${part} ${n} ${JSON.stringify(lora)} ${dropout > 0} ${wrt.join()}`;
