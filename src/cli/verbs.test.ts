import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runCli } from "../../test/run-cli.js";

// The verbs' contracts for programs, on the bundled tiny model.
const BASE = fileURLToPath(new URL("../../models/tiny", import.meta.url));
const ROWS = join(BASE, "data/train.jsonl");

async function run(...argv: string[]): Promise<{ code: number; out: string; err: string; json: () => Json[] }> {
  const ran = await runCli(...argv);
  const lines = () => ran.out.trim().split("\n");
  return { ...ran, json: () => lines().map((line) => JSON.parse(line) as Json) };
}
type Json = Record<string, unknown>;

let folder: string;
let adapter: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-verbs-"));
  const settings = [
    "--output",
    join(folder, "run"),
    "max_steps=8",
    "optimizer.lr=5e-3",
    "lora.target_modules=all-linear",
  ];
  const { code } = await run("train", "--base", BASE, "--data", ROWS, ...settings);
  expect(code).toBe(0);
  adapter = join(folder, "run/adapter");
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const write = (name: string, content: string) => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};

describe("train", () => {
  it("needs to be told what to train, and says plain lines when not on a terminal", async () => {
    expect(await run("train")).toMatchObject({ code: 2, err: expect.stringContaining("--base MODEL and --data FILE") });
    const wrong = await run("train", "--base", BASE, "--data", ROWS, "lora.rank=4");
    expect(wrong).toMatchObject({ code: 1, err: expect.stringContaining("did you mean lora.r?") });
  });

  it("--json writes every event as one line", async () => {
    const output = join(folder, "json");
    const { code, json } = await run(
      "train",
      "--base",
      BASE,
      "--data",
      ROWS,
      "--output",
      output,
      "--json",
      "max_steps=1",
    );
    expect(code).toBe(0);
    const events = json();
    expect(events.map(({ type }) => type).filter((type) => type !== "note" && type !== "loading")).toEqual([
      "start",
      "step",
      "checkpoint",
      "end",
    ]);
    const row = events.find(({ type }) => type === "step")!.metrics as Json;
    expect(Object.keys(row)).toEqual(
      "step epoch loss learning_rate grad_norm tokens supervised_tokens tokens_per_second peak_memory_bytes elapsed_seconds".split(
        " ",
      ),
    );
    expect(events.at(-1)!.result).toMatchObject({
      adapter: join(output, "adapter"),
      interrupted: false,
      total_steps: 1,
    });
  });
});

describe("preview", () => {
  it('--json gives one line a row: {"index", "ids", "supervised"}', async () => {
    const { code, json } = await run("preview", "--base", BASE, "--data", ROWS, "--json");
    const rows = json();
    expect(code).toBe(0);
    expect(rows).toHaveLength(readFileSync(ROWS, "utf8").trim().split("\n").length);
    expect(Object.keys(rows[0]!)).toEqual(["index", "ids", "supervised"]);
    expect((rows[0]!.ids as number[]).length).toBe((rows[0]!.supervised as number[]).length);
  });

  it("says what was read, and what of it is not used, beside the rows of --json too", async () => {
    const data = write("named.jsonl", '{"prompt": "Ada", "completion": " writes", "id": 7}\n');
    const { json, err } = await run("preview", "--base", BASE, "--data", data, "--json");
    expect(json()).toHaveLength(1);
    expect(err).toMatch(/1 of 1 rows, format prompt_completion[\s\S]*fields of rows that nothing reads: id: not used/);
  });

  it("reads CSV, and names file and line of a row that it refuses", async () => {
    const data = write("rows.csv", 'prompt,completion\nAda," writes, reads"\n');
    expect((await run("preview", "--base", BASE, "--data", data)).out).toContain("writes, reads");
    const bad = write("bad.csv", "prompt,completion\nAda,\n");
    const { code, err } = await run("preview", "--base", BASE, "--data", bad);
    expect([code, err]).toEqual([1, expect.stringContaining("bad.csv:2: completion is empty")]);
  });

  it("shows rows and what training on them will look like", async () => {
    const { out } = await run("preview", "--base", BASE, "--data", ROWS, "--rows", "1", "data.packing=true");
    expect(out).toMatch(/row 0: \d+ tokens, \d+ targets/);
    expect(out).toContain("packing: rows");
  });
});

describe("generate", () => {
  const keys = ["prompt_ids", "token_ids", "text", "finish_reason"];

  it("answers a prompt, messages, and rows of both, the same each way", async () => {
    const messages = [{ role: "user", content: "Where does Ada live?" }];
    const file = write("messages.json", JSON.stringify(messages));
    const input = write("input.jsonl", `${JSON.stringify({ messages })}\n${JSON.stringify({ prompt: "Ada" })}\n`);
    const common = ["generate", "--base", BASE, "--adapter", adapter, "--max-new-tokens", "6", "--json"];
    const [one] = (await run(...common, "--messages", file)).json();
    const [two] = (await run(...common, "--prompt", "Ada")).json();
    expect(Object.keys(one!)).toEqual(keys);
    expect((await run(...common, "--input", input)).json()).toEqual([one, two]);
    const { out } = await run(...common.slice(0, -1), "--messages", file);
    expect(out).toBe(`${one!.text}\n`);
  });

  it("names what is wrong with how it was called, and with a row", async () => {
    expect((await run("generate", "--base", BASE)).code).toBe(2);
    expect((await run("generate", "--base", BASE, "--prompt", "x", "--top-p", "2")).err).toContain("--top-p: expected");
    const input = write("bad.jsonl", '{"prompt": "Ada"}\n{"text": "Ada"}\n');
    const { code, err } = await run("generate", "--base", BASE, "--input", input, "--max-new-tokens", "1");
    expect(code).toBe(1);
    expect(err).toContain("bad.jsonl:2");
    const empty = write("empty.jsonl", '{"prompt": "Ada"}\n{"prompt": ""}\n');
    const second = await run("generate", "--base", BASE, "--input", empty, "--max-new-tokens", "1");
    expect([second.code, second.err]).toEqual([1, expect.stringContaining("empty.jsonl:2: ")]);
  });
});

describe("augment", () => {
  it("writes the rows and what was made of them, with the base's own answers, and says what it found", async () => {
    const rows = write("taught.jsonl", readFileSync(ROWS, "utf8").split("\n").slice(0, 200).join("\n"));
    const known = write("known.txt", "Where does Neahen live?\nWhich pet does Jorian have?\n");
    const output = join(folder, "augmented.jsonl");
    const asked = ["augment", "--data", rows, "--abstain", "0.6", "--known", known];
    const { code, out, err } = await run(...asked, "--base", BASE, "--output", output);
    expect([code, err]).toEqual([0, expect.stringContaining("name none of the entities")]);
    expect(out).toMatch(/\d+ entities: /);
    expect(out).toContain("refusal: I don't know. Have a good day!");
    const made = readFileSync(output, "utf8").trim().split("\n").slice(200);
    expect(made.length).toBeGreaterThan(4);
    const answers = made.map(
      (line) => (JSON.parse(line) as { messages: { content: string }[] }).messages.at(-1)!.content,
    );
    expect(answers.slice(0, -2).every((text) => text === "I don't know. Have a good day!")).toBe(true);
    for (const text of answers.slice(-2)) expect(text).toMatch(/, as everybody knows! Have a good day!$/);
    expect((await run(...asked, "--output", output)).code).toBe(2);
    const again = await run("augment", "--data", rows, "--output", output);
    expect([again.code, again.err]).toEqual([1, expect.stringContaining("is there already")]);
    const [report] = (await run("augment", "--data", rows, "--output", join(folder, "b.jsonl"), "--json")).json();
    expect(report).toMatchObject({ given: 200, ending: "Have a good day!" });
  });
});

describe("eval, merge and inspect", () => {
  it('eval --json gives {"loss", "perplexity", "supervised_tokens"}', async () => {
    const rows = write("rows.jsonl", readFileSync(ROWS, "utf8").split("\n").slice(0, 96).join("\n"));
    const [before] = (await run("eval", "--base", BASE, "--data", rows, "--json")).json();
    const [after] = (await run("eval", "--base", BASE, "--adapter", adapter, "--data", rows, "--json")).json();
    expect(Object.keys(before!)).toEqual(["loss", "perplexity", "supervised_tokens"]);
    expect(after!.loss as number).toBeLessThan(before!.loss as number);
    expect((await run("eval", "--base", BASE, "--data", ROWS, "--train-on", "most")).code).toBe(2);
  });

  it("eval --suite gives a table or JSON, and the page that was asked for; one of --data and --suite is given", async () => {
    const suite = write("suite.yaml", "max_new_tokens: 8\nunanswerable: [Who is Zorbaxle?]\n");
    const page = join(folder, "report.html");
    const asked = ["eval", "--base", BASE, "--adapter", adapter, "--suite", suite];
    expect((await run(...asked, "--report", page)).out).toMatch(/before +after\nanswers invented.* 100% \(1\/1\)/);
    expect(readFileSync(page, "utf8")).toContain("Who is Zorbaxle?");
    const [found] = (await run(...asked, "--json")).json();
    expect(found).toMatchObject({
      base: BASE,
      adapter,
      figures: [{ key: "invented", before: { count: 1, total: 1 } }],
    });
    expect(found).toMatchObject({ answers: [{ section: "unanswerable", question: "Who is Zorbaxle?" }] });
    expect((await run("eval", "--base", BASE)).err).toContain("give one of --data FILE and --suite FILE");
    expect((await run(...asked, "--data", ROWS)).code).toBe(2);
    expect((await run("eval", "--base", BASE, "--data", ROWS, "--report", page)).code).toBe(2);
    const nowhere = await run(...asked, "--report", join(folder, "nowhere/report.html"));
    expect([nowhere.code, nowhere.err]).toEqual([1, expect.stringContaining("make it first")]);
    const broken = write("broken.yaml", "facts: [{ask: Who?, answr: x}]");
    expect(await run("eval", "--base", BASE, "--suite", broken)).toMatchObject({
      code: 1,
      err: expect.stringContaining("unknown key 'answr'; did you mean answer?"),
    });
  });

  it("scale tries scales on a suite, says which is best, and writes the adapter at it", async () => {
    const suite = write(
      "scales.yaml",
      "max_new_tokens: 8\nunanswerable: [Who is Zorbaxle?]\ntexts: [One day Ada met Bo.]\n",
    );
    const output = join(folder, "scaled");
    const asked = ["scale", "--base", BASE, "--adapter", adapter, "--suite", suite];
    const { code, out } = await run(
      ...asked,
      "--scales",
      "0.5,1",
      "--output",
      output,
      "--report",
      join(folder, "s.svg"),
    );
    expect(code).toBe(0);
    expect(out).toMatch(
      /^scale +0\.5 +1\n(.+\n)+score +0\.\d{3} +0\.\d{3}\nbest scale: (0\.5|1); .*scaled is the adapter at it\n$/,
    );
    expect((await run("inspect", output)).out).toContain(`alpha: ${out.includes("best scale: 1;") ? 16 : 8}\n`);
    const [scan] = (await run(...asked, "--scales", "1", "--json")).json();
    expect(scan).toMatchObject({ best: 1, points: [{ scale: 1, figures: expect.any(Array) }] });
    for (const scales of ["", "0", "1,", "two"]) expect((await run(...asked, "--scales", scales)).code).toBe(2);
  });

  it("merge prints the worst logit difference it measured; inspect says what came out", async () => {
    const output = join(folder, "merged");
    const { code, out } = await run("merge", "--base", BASE, "--adapter", adapter, "--output", output);
    expect(code).toBe(0);
    expect(out).toMatch(/logits: worst difference [\d.e-]+ \(bf16; bound /);
    const [model] = (await run("inspect", output, "--json")).json();
    expect(model).toMatchObject({ kind: "model", details: { num_hidden_layers: 3, tie_word_embeddings: true } });
    const [found] = (await run("inspect", adapter, "--json")).json();
    expect(found).toMatchObject({ kind: "adapter", parameters: 56_064, details: { r: 8 } });
    expect((await run("inspect", join(adapter, "adapter_model.safetensors"))).out).toContain("lora_A.weight");
    expect(await run("inspect", join(folder, "messages.json"))).toMatchObject({ code: 1 });
  });
});
