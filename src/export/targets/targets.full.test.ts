import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { writeNoise } from "../../../test/noise-adapter.js";
import type { Files } from "../../formats/files.js";
import { nodeFiles } from "../../node/files.js";
import { nodePlatform } from "../../node/platform.js";
import { type ExportOptions, exportAdapter } from "../../recipes/export.js";
import { type OpenModel, openModel } from "../../weights/model-folder.js";
import { runGate } from "../run.js";
import { openSubject, type Subject } from "../subject.js";
import { DRIFT } from "../verdict.js";
import { EXPORT_TARGET_NAMES, type ExportTargetName, exportTarget } from "./index.js";
import type { Draft } from "./target.js";

// What every row of the table must pass, on the bundled model.
const TINY = fileURLToPath(new URL("../../../models/tiny", import.meta.url));
const platform = nodePlatform();
const engine = { device: "cpu", threads: 1 } as const;
let folder: string;
let model: OpenModel;
const at = (name: string) => join(folder, name);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-targets-"));
  // rsLoRA, ranks and alphas of single modules, layers without an adapter: what is easily lost on the way.
  const patterns = { rankPattern: { mlp: 1, v_proj: 5 }, alphaPattern: { "[kq]_proj": 9 } };
  await writeNoise(TINY, at("adapter"), 0.1, { ...patterns, layersToTransform: [0, 2] });
  await writeNoise(TINY, at("other"), 0.1, { ...patterns, layersToTransform: [0, 2], seed: 4 });
  model = await openModel(nodeFiles, TINY);
});
afterAll(async () => {
  await model.close();
  await platform.dispose();
  rmSync(folder, { recursive: true, force: true });
});

/** null: the model alone. */
const subjectOf = (adapter: string | null): Promise<Subject> =>
  openSubject({ ...(adapter === null ? {} : { adapter: at(adapter) }), output: at("named") }, model, platform);

const run = (to: ExportTargetName, output: string, more: Partial<ExportOptions> = {}, on = platform) =>
  exportAdapter({ adapter: at("adapter"), to, output: at(output), ...engine, ...more }, on);

/** Writes one adapter and runs it as if it were `asked`'s export. */
async function tried(to: ExportTargetName, written: string, type?: Draft["type"], asked: string | null = "adapter") {
  const [subject, target] = [await subjectOf(asked), exportTarget(to)];
  const path = at(`${to}-${written}-${type ?? "own"}-${asked}`);
  const opened = await target.write(nodeFiles, await subjectOf(written), { path, asFile: false, type });
  const reopened = await target.reopen(nodeFiles, opened, subject);
  try {
    return await runGate(subject, target.trials(subject, reopened, type), platform, engine);
  } finally {
    await reopened.model?.close();
  }
}

describe.each(EXPORT_TARGET_NAMES)("--to %s", (to) => {
  const target = exportTarget(to);

  test("says in a line what it is; every type has a bound, and the usual one is a type or said in words", () => {
    expect(target.summary).toMatch(/^\S.{15,130}$/);
    expect(target.types.filter((type) => DRIFT[type] === undefined)).toEqual([]);
    expect(target.types.length).toBeGreaterThan(0);
    expect(target.types.includes(target.usually as never) || target.usually.includes(" ")).toBe(true);
  });

  test("says what base + adapter says, and is written under its name alone", async () => {
    const report = await run(to, `out-${to}`);
    const [tokens] = report.gates.filter(({ gate }) => gate.startsWith("greedy tokens"));
    expect(tokens!.found).toMatch(/merged (\d+) of \1, export \d+ of \1/);
    const [finest] = [...report.logits].sort((a, b) => a.worstLogitDifference - b.worstLogitDifference);
    expect(finest!.worstLogitDifference).toBeLessThan(DRIFT[finest!.type]! * finest!.largestLogit);
    expect(finest!.adapterEffect).toBeGreaterThan(5 * finest!.worstLogitDifference);
    expect(report.files.length).toBeGreaterThan(0);
    expect(report.files.every(({ name, bytes }) => name.startsWith(at(`out-${to}`)) && bytes > 0)).toBe(true);
    expect(readdirSync(folder).filter((name) => name.includes(".lowrank."))).toEqual([]);
    await expect(run(to, `out-${to}`)).rejects.toThrow("something is there already");
  });

  test("f32 is exact: the same next tokens, logits but for rounding", async () => {
    const { gates, logits } = await tried(to, "adapter", "f32");
    expect(gates.find(({ gate }) => gate.startsWith("greedy tokens"))!.found).toMatch(/export (\d+) of \1$/);
    expect(logits[0]!.worstLogitDifference).toBeLessThan(1e-4 * logits[0]!.largestLogit);
  });

  test("a model without an adapter is written where whole models go, and refused by name elsewhere", async () => {
    const made = run(to, `alone-${to}`, { adapter: undefined, base: TINY, quantize: "f32" });
    const where = EXPORT_TARGET_NAMES.filter((name) => exportTarget(name).whole);
    if (!target.whole) return expect(made).rejects.toThrow(/holds an adapter, and none was given: .*`to: hf and gguf/);
    expect(where).toContain(to);
    const { gates, logits } = await made;
    expect(gates.find(({ gate }) => gate.startsWith("greedy tokens"))!.found).toMatch(
      /^as the model: export (\d+) of \1$/,
    );
    expect(logits[0]!.worstLogitDifference).toBeLessThan(1e-4 * logits[0]!.largestLogit);
    await expect(tried(to, "adapter", "f32", null)).rejects.toThrow("does not compute what was written");
    await expect(run(to, "nothing", { adapter: undefined })).rejects.toThrow("nothing to export: give");
  });

  test("another adapter in its place is found out", async () => {
    await expect(tried(to, "other", "f32")).rejects.toThrow("does not compute what was written");
  });

  test("a write that fails leaves nothing behind", async () => {
    const before = readdirSync(folder);
    const write: Files["write"] = async (path, content) => {
      await nodeFiles.write(path, content);
      throw new Error("no space left");
    };
    const damaged = { ...platform, files: { ...nodeFiles, write } };
    await expect(run(to, "half", { run: false }, damaged)).rejects.toThrow("no space left");
    expect(readdirSync(folder)).toEqual(before);
  });

  test("takes its own types and names, and refuses others", async () => {
    for (const wrong of ["q8_0", "bf16", "f16"] as const) {
      if (target.types.includes(wrong)) continue;
      await expect(run(to, "typed", { quantize: wrong })).rejects.toThrow(`is written as ${target.types.join(", ")}`);
    }
    const named = run(to, "one.gguf", { run: false });
    if (target.fileEnding === ".gguf") expect((await named).output).toBe(at("one.gguf"));
    else await expect(named).rejects.toThrow("writes a folder");
    for (const name of readdirSync(folder)) if (name.startsWith("one.gguf")) rmSync(at(name));
    writeFileSync(at("taken"), "somebody's");
    await expect(run(to, "taken")).rejects.toThrow("something is there already");
  });

  test("says who loads it and who does not, and names only targets that there are", async () => {
    const { adapter } = await subjectOf("adapter");
    const systems = target.systems({ path: "given/path", base: model, adapter });
    expect(systems.some(({ loads }) => loads) && systems.some(({ loads }) => !loads)).toBe(true);
    expect(systems.some(({ how }) => how.includes("given/path"))).toBe(true);
    const named = systems.flatMap(({ how }) => [...how.matchAll(/`to: ([\w-]+)`/g)].map((match) => match[1]));
    expect(named.filter((name) => !EXPORT_TARGET_NAMES.includes(name as ExportTargetName))).toEqual([]);
    expect(named.length).toBeGreaterThan(0);
    expect(named).not.toContain(to);
  });
});
