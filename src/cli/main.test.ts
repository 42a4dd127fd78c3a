import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runCli } from "../../test/run-cli.js";
import { COMMANDS } from "./commands.js";
import { shippedConfigs } from "./configs.js";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-cli-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("main", () => {
  it("lists every verb, and each has help with examples", async () => {
    const help = await runCli("--help");
    expect(help.code).toBe(0);
    for (const { name, examples } of COMMANDS) {
      expect(help.out).toContain(`\n  ${name} `);
      const own = await runCli(name, "--help");
      expect(own.code).toBe(0);
      expect(examples.length).toBeGreaterThan(0);
      for (const example of examples) expect(own.out).toContain(example);
    }
  });

  it("exits with 2 for wrong usage and names the nearest verb or option", async () => {
    expect(await runCli()).toMatchObject({ code: 2, out: "" });
    const verb = await runCli("validat");
    expect(verb).toMatchObject({ code: 2, out: "" });
    expect(verb.err).toContain("Did you mean validate?");
    expect((await runCli("ls", "--jsn")).err).toContain("Did you mean --json?");
    expect((await runCli("cat")).code).toBe(2);
    const precision = await runCli("eval", "--base", "models/tiny", "--data", "rows.jsonl", "--base-precision", "nf5");
    expect(precision.code).toBe(2);
    expect(precision.err).toContain("--base-precision: expected one of f32, f16, int8, nf4, native, got 'nf5'");
  });

  it("help VERB is VERB --help, and help alone lists the verbs", async () => {
    expect((await runCli("help", "train")).out).toBe((await runCli("train", "--help")).out);
    expect((await runCli("help")).out).toBe((await runCli("--help")).out);
    expect((await runCli("help", "help")).code).toBe(0);
    expect(await runCli("help", "tran")).toMatchObject({
      code: 2,
      err: "lowrank: there is no verb 'tran'; did you mean train? (lowrank --help lists them)\n",
    });
  });

  it("takes what a run needs from flags, from overrides, or from both", async () => {
    const data = "models/tiny/data/train.jsonl";
    for (const words of [
      ["--base", "models/tiny", `data.train=${data}`],
      ["base=models/tiny", `data.train=${data}`],
    ])
      expect((await runCli("preview", ...words, "--rows", "1")).out).toContain("row 0: ");
    expect(await runCli("train", "base=models/tiny")).toMatchObject({
      code: 2,
      err: "lowrank: say what to train: --config FILE_OR_NAME, or --base MODEL and --data FILE\n",
    });
    expect((await runCli("train", "--config", folder)).err).toContain("this is a folder, a file was expected");
  });

  it("prints a user's mistake without a stack and exits with 1", async () => {
    const { code, err } = await runCli("cat", "smollm2/135_lora");
    expect(code).toBe(1);
    expect(err).toMatchInlineSnapshot(`
      "lowrank: 'smollm2/135_lora' is neither a file nor a shipped config; did you mean smollm2/135M_lora? (lowrank ls lists them)
      "
    `);
  });
});

describe("configs", () => {
  it("lists, prints and copies shipped configs, never over a file that is there", async () => {
    const { out } = await runCli("ls", "--json");
    expect((JSON.parse(out) as { name: string }[]).map(({ name }) => name)).toEqual(shippedConfigs());
    const file = join(folder, "mine.yaml");
    expect(await runCli("cp", "llama3_2/1B_lora", file)).toMatchObject({ code: 0, out: `${file}\n` });
    expect(readFileSync(file, "utf8")).toBe((await runCli("cat", "llama3_2/1B_lora")).out);
    expect(await runCli("cp", "smollm2/135M_lora", file)).toMatchObject({ code: 1 });
    expect((await runCli("cp", "smollm2/135M_lora", file, "--force")).code).toBe(0);
  });

  it.each(shippedConfigs())("%s is valid and says what it is for", async (name) => {
    expect(await runCli("validate", name)).toMatchObject({ code: 0, err: "" });
    const summaries = JSON.parse((await runCli("ls", "--json")).out) as { name: string; summary: string }[];
    expect(summaries.find((row) => row.name === name)!.summary).not.toBe("");
  });

  it("validates a file: every problem with line and key, for people and for programs", async () => {
    const file = join(folder, "wrong.yaml");
    writeFileSync(file, "base: x\ndata:\n  train: y\n  packng: true\nlora: {r: 0}\n");
    const text = await runCli("validate", file);
    expect(text.code).toBe(1);
    expect(text.out).toBe(
      `${file}: 2 problems\n  4:3: data.packng: unknown key; did you mean data.packing?\n` +
        "  5:8: lora.r: expected whole number (at least 1), got 0\n",
    );
    const { problems, valid } = JSON.parse((await runCli("validate", file, "--json")).out) as {
      valid: boolean;
      problems: unknown[];
    };
    expect(valid).toBe(false);
    expect(problems[0]).toMatchObject({ line: 4, key: "data.packng", nearest: "data.packing" });
    expect((await runCli("validate", file, "lora.r=4")).out).toContain("1 problem\n");
  });

  it("says which of the models and rows that a file names are not there", async () => {
    const file = join(folder, "missing.yaml");
    const text = "base: nowhere/model\nadapter: none\ndata:\n  train: rows.jsonl\n  validation: 0.1\n";
    writeFileSync(file, text);
    const { code, out } = await runCli("validate", file);
    expect(code).toBe(1);
    expect(out).toMatch(/: 3 problems\n {2}1:1: base: 'nowhere\/model' is not a folder or file here.*\n/);
    expect(out).toContain("  2:1: adapter: 'none' is not there (paths are relative to the working directory)\n");
    expect(out).toContain("  4:3: data.train: 'rows.jsonl' is not there");
    const found = ["base=models/tiny", "adapter=null", "data.train=models/tiny/data/train.jsonl"];
    expect(await runCli("validate", file, ...found)).toMatchObject({ code: 0, out: `${file}: valid\n` });
  });

  it("refuses a config that is not UTF-8, and a file too large to be one", async () => {
    const large = join(folder, "model.gguf");
    writeFileSync(large, Buffer.alloc(5_000_000));
    expect((await runCli("validate", large)).err).toContain("it is larger than 4 MB");
    const file = join(folder, "latin1.yaml");
    writeFileSync(file, Buffer.from([0x62, 0x61, 0xe9]));
    expect((await runCli("validate", file)).err).toContain("it is not UTF-8 text");
  });
});

const findingOf = <T extends { name: string }>({ findings }: { findings: T[] }, name: string): T | undefined =>
  findings.find((finding) => finding.name === name);

it("doctor reports what lowrank needs, for people and for programs", async () => {
  const { code, out } = await runCli("doctor", "--json");
  const report = JSON.parse(out) as { healthy: boolean; findings: { name: string; ok: unknown; detail: string }[] };
  expect(code).toBe(0);
  expect(report.healthy).toBe(true);
  const { detail } = report.findings.find(({ name }) => name === "onnxruntime")!;
  const listed = /providers: ([^;]*)/.exec(detail)![1]!.split(", ");
  expect(listed).toContain("cpu");
  // Compiled in on Linux, but its libraries do not come along.
  if (!existsSync("/dev/nvidiactl")) expect(listed).not.toContain("cuda");
  const library = findingOf(report, "C library");
  expect(library).toEqual({ name: "C library", ok: true, detail: expect.stringContaining("used: ") });
  expect((await runCli("doctor")).out).toContain(process.versions.node);
  process.env.LOWRANK_ORT_BINDING = "1";
  try {
    const without = JSON.parse((await runCli("doctor", "--json")).out) as typeof report;
    expect(without.healthy).toBe(true);
    expect(findingOf(without, "C library")).toMatchObject({
      ok: "note",
      detail: expect.stringContaining("twice as long"),
    });
  } finally {
    delete process.env.LOWRANK_ORT_BINDING;
  }
});
