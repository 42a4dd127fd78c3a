import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CASES, readCase, relativeError } from "../../test/numerics/vectors.js";
import { readAdapter } from "../formats/peft/adapter.js";
import { lengthClass } from "../models/index.js";
import { nodeFiles } from "../node/files.js";
import { openModel } from "../weights/model-folder.js";
import { exportOnnx } from "./onnx.js";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-onnx-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Results = InferenceSession.OnnxValueMapType;

/** A step of an exported model: rows of ids with a mask over past and new tokens, as transformers.js feeds them. */
async function step(session: InferenceSession, ids: number[][], mask: number[][], past?: Results): Promise<Results> {
  const long = (rows: number[][]) =>
    new Tensor("int64", BigInt64Array.from(rows.flat(), BigInt), [rows.length, rows[0]!.length]);
  const positions = mask.map((row) => {
    let at = -1;
    return row.map((seen) => Math.max(0, (at += seen))).slice(-ids[0]!.length);
  });
  const feeds: Record<string, InferenceSession.OnnxValueMapType[string]> = {
    input_ids: long(ids),
    attention_mask: long(mask),
    position_ids: long(positions),
  };
  for (const input of session.inputMetadata) {
    if (!input.name.startsWith("past_key_values") || !input.isTensor) continue;
    const shape = input.shape.map((d) => (d === "batch_size" ? ids.length : typeof d === "number" ? d : 0));
    const none = input.type === "float16" ? new Uint16Array() : new Float32Array();
    feeds[input.name] = past?.[input.name.replace("past_key_values", "present")] ?? new Tensor(input.type, none, shape);
  }
  return session.run(feeds);
}

const logitsOf = ({ logits }: Results): Float32Array => (logits as Tensor).data as Float32Array;
const ones = (n: number): number[] => new Array<number>(n).fill(1);

describe.each(CASES)("%s as ONNX, on ONNX Runtime", (name) => {
  const reference = readCase(name);
  const { config, rows } = reference;
  const expected = (row: number) => reference.expected.get(`all.logits.${row}`)!.data as Float32Array;
  const out = () => join(folder, name, "out");

  beforeAll(async () => {
    const base = join(folder, name, "base");
    cpSync(join(reference.folder, "model"), base, { recursive: true });
    writeFileSync(
      join(base, "tokenizer.json"),
      JSON.stringify({ model: { type: "BPE", vocab: { a: 0 }, merges: [] } }),
    );
    writeFileSync(join(base, "tokenizer_config.json"), "{}");
    const model = await openModel(nodeFiles, base);
    const adapter = await readAdapter(nodeFiles, join(reference.folder, "all"), model.config);
    // So small a limit that one of them goes into several files.
    const maxFileBytes = name === "bias" ? 60_000 : 2e9;
    await exportOnnx(nodeFiles, model, adapter, out(), { types: ["f32", "f16"], maxFileBytes });
    await model.close();
  });

  it.each([
    ["model.onnx", 1e-5],
    ["model_fp16.onnx", 4e-3],
  ] as const)(
    "%s: PEFT's logits, alone, through the cache in pieces, and in a batch padded on the left",
    async (file, tolerance) => {
      const session = await InferenceSession.create(join(out(), "onnx", file));
      for (const [i, { ids }] of rows.entries()) {
        const logits = logitsOf(await step(session, [[...ids]], [ones(ids.length)]));
        expect(relativeError(logits, expected(i)), `row ${i}`).toBeLessThan(tolerance);
      }
      let past: Results | undefined;
      let at = 0;
      // keys of a text that was short stay as they are, where a long one would have turned them otherwise
      for (const size of lengthClass(config, 31) === "long" ? [] : [9, 1, 8, 1, 12]) {
        past = await step(session, [[...rows[3]!.ids.subarray(at, at + size)]], [ones(at + size)], past);
        const part = expected(3).subarray(at * config.vocabSize, (at + size) * config.vocabSize);
        expect(relativeError(logitsOf(past), part), `position ${at}`).toBeLessThan(tolerance);
        at += size;
      }
      const [long, short] = [[...rows[1]!.ids], [...rows[0]!.ids]];
      const pad = new Array<number>(long.length - short.length).fill(0);
      const both = logitsOf(
        await step(session, [long, [...pad, ...short]], [ones(long.length), [...pad, ...ones(short.length)]]),
      );
      const half = both.length / 2;
      expect(relativeError(both.subarray(0, half), expected(1))).toBeLessThan(tolerance);
      expect(relativeError(both.subarray(half + pad.length * config.vocabSize), expected(0))).toBeLessThan(tolerance);
      await session.release();
    },
  );

  it("a tied head is one tensor; past the limit, weights go into files that config.json counts", () => {
    const names = readdirSync(join(out(), "onnx"));
    const bytes = readFileSync(join(out(), "onnx", "model.onnx"));
    expect(bytes.includes("lm_head.weight")).toBe(!config.tieWordEmbeddings);
    const written = JSON.parse(readFileSync(join(out(), "config.json"), "utf8")) as Record<string, never>;
    const count = names.filter((file) => file.startsWith("model.onnx_data")).length;
    expect(written["transformers.js_config"]).toEqual({
      dtype: "fp32",
      kv_cache_dtype: { fp16: "float16" },
      ...(name === "bias" ? { use_external_data_format: { "model.onnx": count, "model_fp16.onnx": 2 } } : {}),
    });
    expect(count > 1).toBe(name === "bias");
  });
});
