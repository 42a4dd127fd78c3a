import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { Sequence } from "../../src/generation/decoder.js";
import { applyAdapter, generate, type LoadedAdapter, type LoadedModel, loadModel } from "../../src/node/index.js";
import { findOpenvino } from "../../src/node/openvino-library.js";
import { readCase } from "../numerics/vectors.js";
import { runCli } from "../run-cli.js";
import { FAMILY_CASES, familyFolder, familyRows } from "./family-folder.js";

// Every family through the command line, from a folder and a file of rows to every export that runs its gates.
const folder = mkdtempSync(join(tmpdir(), "lowrank-families-"));
const rows = familyRows(folder);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs a verb that must succeed; returns what it printed. */
async function lowrank(...argv: string[]): Promise<string> {
  const { code, out, err } = await runCli(...argv);
  if (code !== 0) throw new Error(`lowrank ${argv.join(" ")}: exit ${code}\n${err}${out}`);
  return out;
}

/** The loss of samples, as `preview --json` writes them, from the logits that decoding gives token by token. */
async function decodedLoss({ decoder }: LoadedModel, lines: readonly string[], adapter?: LoadedAdapter) {
  let [sum, count] = [0, 0];
  for (const line of lines) {
    const { ids, supervised } = JSON.parse(line) as Record<"ids" | "supervised", number[]>;
    const sequence = new Sequence(decoder, ids.length, adapter?.resident);
    for (const [i, id] of ids.slice(0, -1).entries()) {
      const logits = await sequence.feed([id]);
      if (supervised[i + 1] !== 1) continue;
      const most = Math.max(...logits);
      sum += most + Math.log(logits.reduce((total, x) => total + Math.exp(x - most), 0)) - logits[ids[i + 1]!]!;
      count++;
    }
    sequence.dispose();
  }
  return sum / count;
}

const KEYS = [
  "threads=1",
  "max_steps=2",
  "lora.target_modules=all-linear",
  "data.max_seq_len=64",
  "optimizer.lr=0.02",
  "schedule.name=constant",
  "schedule.warmup_steps=0",
];

describe.each(FAMILY_CASES)("%s", (name) => {
  const base = familyFolder(folder, name);
  const at = (what: string) => join(folder, `${name}-${what}`);
  const run = at("run");
  const lossOn = async (data: string, ...more: string[]) =>
    (JSON.parse(await lowrank("eval", "--base", base, "--data", data, "--json", ...more)) as { loss: number }).loss;
  const loss = (...more: string[]) => lossOn(rows, ...more);

  it("is inspected, previewed and planned", async () => {
    expect(await lowrank("inspect", base)).toContain(`vocabSize: ${readCase(name).config.vocabSize}\n`);
    expect(await lowrank("preview", "--base", base, "--data", rows, "--rows", "1")).toContain("row 0: ");
    const plan = JSON.parse(await lowrank("plan", "--base", base, "--data", rows, "--json", ...KEYS));
    expect(plan).toMatchObject({ fits: true, steps: 2 });
    expect(plan.seconds_per_step).toBeGreaterThan(0);
  });

  it("is trained, evaluated and spoken to", async () => {
    await lowrank("train", "--base", base, "--data", rows, "--output", run, "base_precision=int8", ...KEYS);
    expect(await loss("--adapter", run)).toBeLessThan(await loss());
    const model = await loadModel(base, { threads: 1 });
    const adapter = await applyAdapter(model, run);
    const few = at("few.jsonl");
    writeFileSync(few, readFileSync(rows, "utf8").split("\n").slice(0, 3).join("\n"));
    const samples = (await lowrank("preview", "--base", base, "--data", few, "--json")).trim().split("\n");
    for (const more of [[], ["--adapter", run]]) {
      const spoken = await decodedLoss(model, samples, more.length > 0 ? adapter : undefined);
      expect(Math.abs(spoken / (await lossOn(few, ...more)) - 1)).toBeLessThan(1e-4);
    }
    const prompt = "what is 3?";
    const short = ["--max-new-tokens", "8", "--json"];
    const said = await lowrank("generate", "--base", base, "--adapter", run, "--prompt", prompt, ...short);
    const { tokenIds } = await generate(model, { prompt }, { adapter, maxNewTokens: 8 }).result();
    expect(JSON.parse(said).token_ids).toEqual(tokenIds);
    await model.dispose();
  });

  it("is merged and exported, and every export says what base + adapter says", async () => {
    const merged = await lowrank("merge", "--base", base, "--adapter", run, "--output", at("merged"));
    expect(merged).toContain("logits: worst difference");
    for (const to of ["peft", "hf", "onnx"]) {
      const report = await lowrank("export", "--adapter", run, "--base", base, "--to", to, "--output", at(to));
      // As many tokens as were written: a text ends early where the model says so.
      expect(report).toMatch(/merged (\d+) of \1, export \1 of \1\n/);
    }
    expect(existsSync(at("onnx"))).toBe(true);
    const [beside, whole] = [await loss("--adapter", run), await loss("--base", at("merged"))];
    expect(Math.abs(whole / beside - 1)).toBeLessThan(1e-4);
  });

  it("is trained whole, written, and opened again as a base; the difference is an adapter", async () => {
    const keys = KEYS.filter((key) => !key.startsWith("lora"));
    await lowrank("train", "--base", base, "--data", rows, "--output", at("full"), "full_finetune=true", ...keys);
    const before = await loss();
    expect(await loss("--base", join(at("full"), "model"))).toBeLessThan(before);
    const tuned = ["--tuned", join(at("full"), "model"), "--rank", "32"];
    await lowrank("extract", "--base", base, ...tuned, "--output", at("extracted"));
    expect(await loss("--adapter", at("extracted"))).toBeLessThan(before);
  });

  it.skipIf(!findOpenvino())("is trained in bf16", async () => {
    await lowrank("train", "--base", base, "--data", rows, "--output", at("bf16"), "precision=bf16", ...KEYS);
    expect(await loss("--adapter", at("bf16"))).toBeLessThan(await loss());
  });
});
