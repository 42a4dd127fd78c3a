import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";
import { adapterShapes, writeAdapter } from "../../src/formats/peft/adapter.js";
import { Sequence } from "../../src/generation/decoder.js";
import { nodeFiles } from "../../src/node/files.js";
import { type LoadedModel, loadModel } from "../../src/node/index.js";
import { f32, random } from "../../src/tensor/index.js";
import { adapterBase } from "../../src/weights/adapter-base.js";

export const BASE = fileURLToPath(new URL("../../models/tiny", import.meta.url));

export interface Tiny {
  readonly model: LoadedModel;
  /** The folder that the model was loaded from. */
  readonly base: string;
  /** Writes an adapter with random B: it changes the output, each seed in its own way. Returns its folder. */
  adapter(name: string, seed: number): Promise<string>;
  dispose(): Promise<void>;
}

/** A copy of the bundled model that takes longer texts: its 256 tokens hold no description of tools. */
export function longTiny(folder: string): string {
  const base = join(folder, "tiny");
  cpSync(BASE, base, { recursive: true });
  const config = JSON.parse(readFileSync(join(BASE, "config.json"), "utf8"));
  writeFileSync(join(base, "config.json"), JSON.stringify({ ...config, max_position_embeddings: 2048 }));
  return base;
}

/** The bundled model on one thread, with a folder for adapters made of random numbers. */
export async function tiny({ long = false }: { readonly long?: boolean } = {}): Promise<Tiny> {
  const folder = mkdtempSync(join(tmpdir(), "lowrank-serve-"));
  const base = long ? longTiny(folder) : BASE;
  const model = await loadModel(base, { threads: 1 });
  return {
    model,
    base,
    async adapter(name, seed) {
      const config = {
        r: 4,
        alpha: 8,
        dropout: 0,
        useRslora: false,
        init: "kaiming",
        targetModules: ["q_proj", "v_proj", "down_proj"],
      } as const;
      const rng = random(seed, name);
      const shapes = [...adapterShapes(config, model.resident.config)];
      const tensors = new Map(
        shapes.map(([key, shape]) => [
          key,
          f32(
            shape,
            Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => 0.12 * rng.normal()),
          ),
        ]),
      );
      const path = join(folder, name);
      await writeAdapter(nodeFiles, path, { config, tensors, base: await adapterBase(model.open) });
      return path;
    },
    async dispose() {
      await model.dispose();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Until the test ends whoever feeds tokens to a text passes here first: what happens when is then no race. */
export function beforeFeeding(act: (sequence: Sequence) => unknown): void {
  const { feed } = Sequence.prototype;
  Sequence.prototype.feed = async function (this: Sequence, ids) {
    await act(this);
    return feed.call(this, ids);
  };
  onTestFinished(() => {
    Sequence.prototype.feed = feed;
  });
}

/** Until the test ends every text that is greedily generated is this one, whatever the model would say. */
export function saying(model: LoadedModel, text: string): void {
  const { feed } = Sequence.prototype;
  const script = [...model.tokenizer.encode(text, { addSpecialTokens: false }), model.tokenizer.eosId!];
  const said = new WeakMap<Sequence, number>();
  Sequence.prototype.feed = async function (this: Sequence, ids) {
    const logits = await feed.call(this, ids);
    const at = said.get(this) ?? 0;
    said.set(this, at + 1);
    logits[script[Math.min(at, script.length - 1)]!]! += 1000;
    return logits;
  };
  onTestFinished(() => {
    Sequence.prototype.feed = feed;
  });
}
