import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { main } from "../../src/cli/main.js";
import { FAMILY_CASES, familyFolder, familyRows } from "./folder.js";

let folder: string;
let rows: string;
const at = (...names: string[]) => join(folder, ...names);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-families-"));
  rows = familyRows(folder);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs a verb that must succeed; returns what it printed. */
async function lowrank(...argv: string[]): Promise<string> {
  let [out, err] = ["", ""];
  const io = { out: (t: string) => void (out += t), err: (t: string) => void (err += t), interactive: false, columns: 80 };
  const code = await main(argv, io);
  if (code !== 0) throw new Error(`lowrank ${argv.join(" ")}: exit ${code}\n${err}${out}`);
  return out;
}

const TINY_RUN = ["threads=1", "data.max_seq_len=64", "optimizer.lr=0.02", "schedule.name=constant", "schedule.warmup_steps=0"];

describe.each(FAMILY_CASES)("%s", (name) => {
  let base: string;
  let run: string;
  beforeAll(() => {
    base = familyFolder(folder, name);
    run = at(`run-${name}`);
  });

  it("is inspected, previewed and planned", async () => {
    expect(await lowrank("inspect", base)).toContain(name === "llama3" ? "vocabSize" : name);
    expect(await lowrank("preview", "--base", base, "--data", rows, "--rows", "1")).toContain("row 0: ");
    const plan = JSON.parse(await lowrank("plan", "--base", base, "--data", rows, "--json", "lora.target_modules=all-linear", ...TINY_RUN));
    expect(plan.fits).toBe(true);
  });

  it("is trained, evaluated, spoken to and merged", async () => {
    const train = ["train", "--base", base, "--data", rows, `output_dir=${run}`, "lora.target_modules=all-linear", "max_steps=2", "checkpointing=true", "data.packing=true", "base_precision=nf4", ...TINY_RUN];
    await lowrank(...train);
    const [bare, adapted] = [
      await lowrank("eval", "--base", base, "--data", rows, "--json"),
      await lowrank("eval", "--base", base, "--adapter", run, "--data", rows, "--json"),
    ].map((text) => JSON.parse(text).loss as number);
    expect(adapted!).toBeLessThan(bare!);
    
    (await lowrank("generate", "--base", base, "--adapter", run, "--prompt", "what is 3?", "--max-new-tokens", "8"));
    (await lowrank("merge", "--base", base, "--adapter", run, "--output", at(`merged-${name}`)));
    for (const to of ["peft", "hf", "onnx"]) console.log(await lowrank("export", "--adapter", run, "--base", base, "--to", to, "--output", at(`${to}-${name}`)));
  });
});
