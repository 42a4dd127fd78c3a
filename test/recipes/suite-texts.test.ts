import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import {
  applyAdapter,
  evaluateSuite,
  generate,
  type LoadedAdapter,
  type LoadedModel,
  loadModel,
  loraFinetune,
} from "../../src/node/index.js";
import { TINY, tinyRun } from "../tiny-run.js";

// An adapter that learned prompts and completions is asked as it learned: without the chat template.
const QUESTION = "Where does Ada live?";
let folder: string;
let model: LoadedModel;
let adapter: LoadedAdapter;
const at = (name: string) => join(folder, name);
const suite = (name: string, more = "") => {
  writeFileSync(at(name), `max_new_tokens: 8\n${more}facts: [{ask: ${QUESTION}, answer: no}]\n`);
  return at(name);
};
const said = async (input: Parameters<typeof generate>[1], by = {}) =>
  (await generate(model, input, { maxNewTokens: 8, ...by }).result()).text;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-suite-texts-"));
  writeFileSync(at("rows.jsonl"), `${JSON.stringify({ prompt: QUESTION, completion: " No no no." })}\n`);
  const evaluated = {
    evalEvery: 25,
    evalSuite: suite("while.yaml", "texts: [One day Ada met Bo.]\n"),
    samples: { prompts: [QUESTION], maxNewTokens: 8 },
  };
  await loraFinetune(
    tinyRun(at("run"), { data: { train: at("rows.jsonl"), trainOn: "completion" }, maxSteps: 25, ...evaluated }),
  ).result();
  model = await loadModel(TINY, { threads: 1 });
  adapter = await applyAdapter(model, at("run"));
});
afterAll(async () => {
  await model.dispose();
  rmSync(folder, { recursive: true, force: true });
});

it("a suite asks as the rows were that the adapter's run learned, unless it says how, or its caller does", async () => {
  const [text, chat] = [{ prompt: QUESTION }, { messages: [{ role: "user", content: QUESTION }] }];
  expect(await said(text, { adapter })).not.toBe(await said(chat, { adapter }));
  for (const [name, asked, more] of [
    [suite("plain.yaml"), text, {}],
    [suite("chat.yaml", "apply_chat_template: true\n"), chat, { chat: false }],
    [suite("text.yaml", "apply_chat_template: false\n"), text, { chat: true }],
    [suite("plain.yaml"), chat, { chat: true }],
  ] as const) {
    const { answers, chat } = await evaluateSuite(model, name, { adapter, ...more });
    expect(answers[0]!.after!.text, name).toBe(await said(asked, { adapter }));
    expect(answers[0]!.before.text, name).toBe(await said(asked));
    expect(chat).toBe("messages" in asked);
  }
  const alone = await evaluateSuite(model, suite("plain.yaml"));
  expect(alone.answers[0]!.before.text).toBe(await said(chat));
});

it("a run asks its samples and its suite as its rows are", async () => {
  const [sample] = readFileSync(at("run/samples.jsonl"), "utf8").trim().split("\n");
  const { base, adapter: tuned } = JSON.parse(sample!);
  expect([base, tuned]).toEqual([await said({ prompt: QUESTION }), await said({ prompt: QUESTION }, { adapter })]);
  const metrics = readFileSync(at("run/metrics.jsonl"), "utf8");
  expect(metrics).toContain('"eval_suite/facts":1');
});

it("a system message is refused where it has no place, and a template where there is none", async () => {
  const spoken = suite("system.yaml", "system: Be brief.\n");
  await expect(evaluateSuite(model, spoken, { adapter })).rejects.toThrow(
    "system: the questions are asked as plain texts",
  );
  cpSync(TINY, at("plain-base"), { recursive: true });
  const path = at("plain-base/tokenizer_config.json");
  const { chat_template: _, ...tokenizer } = JSON.parse(readFileSync(path, "utf8"));
  writeFileSync(path, JSON.stringify(tokenizer));
  const plain = await loadModel(at("plain-base"), { threads: 1 });
  try {
    expect((await evaluateSuite(plain, suite("plain.yaml"))).chat).toBe(false);
    const asked = evaluateSuite(plain, suite("chat.yaml", "apply_chat_template: true\n"));
    await expect(asked).rejects.toThrow("plain-base has no chat template");
  } finally {
    await plain.dispose();
  }
});
