import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  applyAdapter,
  generate,
  loadModel,
  loraFinetune,
  type Reward,
  type TrainOptions,
} from "../../src/node/index.js";
import { TINY, TINY_ROWS } from "../tiny-run.js";
import { FAMILY_CASES, familyFolder } from "./family-folder.js";
import { adapterBytes, metricsOf, stoppedAfter } from "./run-folder.js";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const BIN = join(ROOT, "bin/lowrank.js");

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-grpo-"));
  const rows = readFileSync(TINY_ROWS, "utf8").split("\n").slice(0, 12);
  const prompts = rows.map((line) => {
    const [question, { content: answer }] = JSON.parse(line).messages;
    return JSON.stringify({ prompt: [question], answer });
  });
  writeFileSync(join(folder, "prompts.jsonl"), prompts.join("\n"));
  writeFileSync(
    join(folder, "texts.jsonl"),
    ["hi you", "what", "ab c", "d"].map((prompt) => JSON.stringify({ prompt })).join("\n"),
  );
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Shorter is better. */
const SHORT = { name: "length", unit: "characters", max: 20 };

/** A reward that differs from completion to completion, whatever a model of random weights says. */
const varied: Reward = {
  name: "varied",
  score: (all) => all.map(({ text }) => [...text].reduce((sum, c) => sum + c.codePointAt(0)!, 0) % 7),
};

type Objective = NonNullable<TrainOptions["objective"]>;

const options = (name: string, objective: Objective = {}, more: Partial<TrainOptions> = {}): TrainOptions => ({
  base: TINY,
  outputDir: join(folder, name),
  data: { train: join(folder, "prompts.jsonl"), maxSeqLen: 64 },
  objective: { name: "grpo", numGenerations: 4, maxCompletionLength: 16, rewards: [SHORT], ...objective },
  lora: { r: 4, dropout: 0.1 },
  optimizer: { lr: 5e-3 },
  batchSize: 4,
  gradientAccumulationSteps: 2,
  maxSteps: 6,
  saveEvery: 2,
  threads: 1,
  ...more,
});

const bytes = (name: string) => adapterBytes(join(folder, name));
const metrics = (name: string) => metricsOf(join(folder, name));
const completions = (name: string, step: number) =>
  readFileSync(join(folder, name, `completions/completions_${String(step).padStart(5, "0")}.jsonl`), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

describe.each([
  ["plain", {}],
  ["with a reference, learning three times", { beta: 0.1, numIterations: 3, topP: 0.9, topK: 40 }],
  [
    "colder, of two rewards",
    { temperature: 0.7, maskTruncatedCompletions: true, rewards: [SHORT, { name: "exact_match", weight: 2 }] },
  ],
] as [string, Objective][])("%s", (title, objective) => {
  const name = title.replace(/\W+/g, "-");

  it("stopped and resumed is uninterrupted, bit for bit, whether or not its completions were kept", async () => {
    await loraFinetune(options(`${name}-whole`, objective)).result();
    await stoppedAfter(4, options(name, objective));
    if ((objective.numIterations ?? 1) === 1) rmSync(join(folder, name, "completions"), { recursive: true });
    await loraFinetune(options(name, objective), { resume: true }).result();
    expect(bytes(name)).toEqual(bytes(`${name}-whole`));
    expect(metrics(name)).toEqual(metrics(`${name}-whole`));
  });

  it("says what TRL says, and keeps what was sampled with rewards and advantages", () => {
    const [first] = metrics(`${name}-whole`);
    const names = [
      ...["reward", "reward_std", "frac_reward_zero_std", "rewards/length/mean", "rewards/length/std"],
      ...["completions/mean_length", "completions/clipped_ratio", "completions/mean_terminated_length"],
      ...["clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean"],
      ...(objective.beta ? ["kl"] : []),
    ];
    for (const key of names) expect(first![key], key).toBeTypeOf("number");
    const lines = completions(`${name}-whole`, 1);
    expect(lines).toHaveLength(8);
    expect(new Set(lines.map(({ row }) => row)).size).toBe(2);
    for (const { completion, completion_ids: ids, rewards, ended, advantage, prompt } of lines) {
      expect(ids.length).toBeLessThanOrEqual(16);
      expect(rewards.length).toBeCloseTo(Math.max(0, Math.min(1, 2 - [...completion].length / 20)), 12);
      expect(ended || ids.length === 16).toBe(true);
      expect(advantage).toBeTypeOf("number");
      expect(prompt[0].role).toBe("user");
    }
    expect(lines.some(({ advantage }) => advantage !== 0)).toBe(true);
    const mean = lines.reduce((sum, { reward }) => sum + reward, 0) / lines.length;
    expect(first!.reward).toBeCloseTo(mean, 12);
  });
});

it("micro-batches do not change what is learned", async () => {
  const whole = { lora: { r: 4 }, batchSize: 8, gradientAccumulationSteps: 1, maxSteps: 1 };
  await loraFinetune(options("one", {}, whole)).result();
  await loraFinetune(options("eight", {}, { ...whole, batchSize: 1, gradientAccumulationSteps: 8 })).result();
  const [one, eight] = [metrics("one")[0]!, metrics("eight")[0]!];
  expect(completions("eight", 1)).toEqual(completions("one", 1));
  for (const key of ["reward", "completions/mean_length"]) expect(eight[key]).toBe(one[key]);
  expect(Math.abs(eight.grad_norm! / one.grad_norm! - 1)).toBeLessThan(1e-5);
});

it("validates by the mean reward of held-out prompts, and keeps the adapter with the highest", async () => {
  const more = { data: { train: join(folder, "prompts.jsonl"), maxSeqLen: 64, validation: 0.25 }, evalEvery: 2 };
  const { best, evalLoss } = await loraFinetune(options("validated", { numGenerationsEval: 2 }, more)).result();
  const checks = metrics("validated").filter((row) => !("loss" in row));
  expect(checks.map(({ step }) => step)).toEqual([2, 4, 6]);
  const rewards = checks.map((row) => row.eval_reward!);
  expect(Math.max(...rewards)).toBeGreaterThan(0);
  expect(best).toMatchObject({ name: "eval_reward", value: Math.max(...rewards) });
  expect(evalLoss).toBeUndefined();
  expect(readFileSync(join(folder, "validated/reward.svg"), "utf8")).toContain("Mean reward of");
  const kept = readdirSync(join(folder, "validated/completions")).filter((name) => name.startsWith("eval_"));
  expect(kept).toEqual(["eval_00002.jsonl", "eval_00004.jsonl", "eval_00006.jsonl"]);
  expect(
    readFileSync(join(folder, "validated/completions", kept[0]!), "utf8")
      .trim()
      .split("\n"),
  ).toHaveLength(3 * 2);
});

describe("rewards of a program", () => {
  const even: Reward = {
    name: "even",
    weight: 2,
    score: (all) => all.map(({ text }, i) => (i === 0 ? null : text.length % 2)),
  };

  it("are told of under their names, beside those of the config, and are asked for again by a resumed run", async () => {
    await stoppedAfter(2, options("own"), { rewards: [even] });
    const [first] = metrics("own");
    expect(first!["rewards/even/mean"]).toBeTypeOf("number");
    expect(completions("own", 1)[0].rewards).toMatchObject({ even: null, length: expect.any(Number) });
    await expect(loraFinetune(options("own"), { resume: true }).result()).rejects.toThrow(
      /rewards: was \[.*even.*\], is/,
    );
    await loraFinetune(options("own"), { resume: true, rewards: [even] }).result();
    expect(metrics("own")).toHaveLength(6);
  });

  it.each([
    [() => [1], "reward bad: expected a finite number, or null, for each of 8 completions, got 1 of them"],
    [
      (all: readonly unknown[]) => all.map(() => Number.NaN),
      "reward bad: expected a finite number, or null, for each of 8 completions, got NaN",
    ],
    [() => "well", "got a string"],
    [() => Promise.reject(new Error("no idea")), "reward bad: no idea"],
  ])("%s: refused", async (score, message) => {
    const bad = { name: "bad", score } as unknown as Reward;
    await expect(loraFinetune(options("bad"), { rewards: [bad] }).result()).rejects.toThrow(message);
    rmSync(join(folder, "bad"), { recursive: true, force: true });
  });
});

describe("a judge", () => {
  let server: Server;
  let asked: { authorization: string | undefined; content: string; model: string }[] = [];
  let answer: (asked: number) => [status: number, body: string] = () => [200, reply("7")];
  const reply = (content: string) => JSON.stringify({ choices: [{ message: { role: "assistant", content } }] });
  beforeAll(async () => {
    process.env.LOWRANK_TEST_KEY = "secret";
    server = createServer((request, response) => {
      let text = "";
      request.on("data", (chunk) => (text += chunk));
      request.on("end", () => {
        const { messages, model } = JSON.parse(text);
        asked.push({ authorization: request.headers.authorization, content: messages[0].content, model });
        const [status, body] = answer(asked.length);
        response.writeHead(status, { "content-type": "application/json" }).end(body);
      });
    });
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  });
  afterAll(() => server.close());

  const judged = (name: string, more: object = {}) => {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
    const judge = {
      name: "judge",
      url,
      model: "wise",
      key: "LOWRANK_TEST_KEY",
      question: "{answer}|{completion}|{max}",
      tries: 2,
      ...more,
    };
    return options(name, { rewards: [SHORT, judge] }, { maxSteps: 4, saveEvery: 0 });
  };

  it("gives each completion its number, by the row's columns and with its key", async () => {
    asked = [];
    answer = (n) => [200, reply(`I say ${n % 8}.`)];
    await loraFinetune(judged("judged")).result();
    expect(asked).toHaveLength(4 * 8);
    expect(asked[0]).toMatchObject({ authorization: "Bearer secret", model: "wise" });
    const lines = completions("judged", 1);
    expect(asked.slice(0, 8).map(({ content }) => content)).toContain(
      `${JSON.parse(readFileSync(join(folder, "prompts.jsonl"), "utf8").split("\n")[lines[0].row]!).answer}|${lines[0].completion}|10`,
    );
    for (const { rewards } of lines) expect(rewards.judge * 10).toBeCloseTo(Math.round(rewards.judge * 10), 9);
    expect(readFileSync(join(folder, "judged/config.yaml"), "utf8")).not.toContain("secret");
  });

  const failures = [
    [
      "down",
      [500, "overloaded"],
      "objective.rewards: judge: wise at http://127.0.0.1:PORT/v1 answered 500: overloaded (2 times asked)",
    ],
    ["without a number", [200, reply("good!")], 'gave no number from 0 to 10: "good!" (2 times asked)'],
    ["out of range", [200, reply("11")], "gave no number from 0 to 10"],
    ["no JSON", [200, "<html>"], "answered with no chat completion: <html> (2 times asked)"],
    ["a refused key", [401, "who are you"], "answered 401: who are you (once asked)"],
  ] as const;

  it.each(failures)(
    "%s: an error after retries, and the run goes on from its last step to the same bytes",
    async (title, wrong, message) => {
      const name = title.replace(/\W+/g, "-");
      asked = [];
      answer = () => [200, reply("7")];
      const begun = (n: number) => (n <= 16 ? [200, reply("7")] : wrong) as [number, string];
      answer = begun;
      const { port } = server.address() as AddressInfo;
      await expect(loraFinetune(judged(name)).result()).rejects.toThrow(message.replace("PORT", String(port)));
      expect(readdirSync(join(folder, name, "checkpoints"))).toEqual(["step-2"]);
      answer = () => [200, reply("7")];
      await loraFinetune(judged(name), { resume: true }).result();
      if (title === "down") await loraFinetune(judged("never-down")).result();
      expect(bytes(name)).toEqual(bytes("never-down"));
      expect(metrics(name)).toEqual(metrics("never-down"));
    },
  );

  it("that answers at the second try is no error", async () => {
    asked = [];
    answer = (n) => (n === 3 ? [503, "busy"] : [200, reply("7")]);
    await loraFinetune(judged("busy")).result();
    expect(asked).toHaveLength(4 * 8 + 1);
    expect(bytes("busy")).toEqual(bytes("never-down"));
  });

  it("without its key is refused before anything is loaded", async () => {
    await expect(loraFinetune(judged("keyless", { key: "LOWRANK_NO_SUCH_KEY" })).result()).rejects.toThrow(
      "objective.rewards: judge: the environment variable LOWRANK_NO_SUCH_KEY, which is to hold the judge's key, is not set",
    );
  });
});

describe.each(["dora", "pissa", "saved", "full"] as const)("%s", (kind) => {
  it("samples with what is trained: what it learned is what it says", async () => {
    const lora = {
      dora: { r: 4, useDora: true },
      pissa: { r: 4, init: "pissa" as const },
      saved: { r: 4, modulesToSave: ["lm_head"] },
      full: {},
    }[kind];
    const rate = kind === "full" ? 1e-3 : 5e-3;
    const more = {
      lora,
      fullFinetune: kind === "full",
      maxSteps: 2,
      optimizer: { lr: rate },
      schedule: { name: "constant" as const },
    };
    await loraFinetune(options(kind, { beta: 0.05 }, more), { rewards: [varied] }).result();
    const [first, second] = metrics(kind);
    expect(first!.kl).toBeLessThan(1e-5); // it begins as its reference
    expect(second!.kl).toBeGreaterThan(10 * Math.abs(first!.kl!));
  });
});

it.each(FAMILY_CASES)("%s learns from what it samples", async (family) => {
  const base = familyFolder(folder, family);
  const more = {
    base,
    data: { train: join(folder, "texts.jsonl"), maxSeqLen: 24 },
    lora: { r: 4, targetModules: "all-linear" },
    maxSteps: 2,
  };
  await loraFinetune(options(`family-${family}`, { beta: 0.1, numIterations: 2 }, more), {
    rewards: [varied],
  }).result();
  const [first, second] = metrics(`family-${family}`);
  expect(first!.kl).toBe(0);
  expect(second!.kl).toBeGreaterThan(0);
  expect(first!.grad_norm).toBeGreaterThan(0);
});

describe("lowrank train --config tiny/grpo", () => {
  const start = (name: string, ...more: string[]) => {
    const keys = [`output_dir=${join(folder, name)}`, "threads=1", "save_every=4"];
    return spawn(process.execPath, [BIN, "train", "--config", "tiny/grpo", "--json", ...keys, ...more], { cwd: ROOT });
  };
  const ended = (child: ChildProcess) => new Promise<number | null>((done) => child.on("exit", done));

  beforeAll(async () => expect(await ended(start("shipped"))).toBe(0), 240_000);

  it("learns what is rewarded from rewards alone", () => {
    const checks = metrics("shipped").filter((row) => "eval_reward" in row);
    expect(metrics("shipped")[0]!.reward).toBeLessThan(0.3);
    expect(checks.at(-1)!.eval_reward).toBeGreaterThan(0.8);
  });

  it("samples by what is trained: with one token to choose from, what its adapter says", async () => {
    const start = { adapter: join(folder, "shipped"), maxSteps: 1, lora: { r: 8, targetModules: "all-linear" } };
    await loraFinetune(options("greedy", { topK: 1, maxCompletionLength: 24 }, start)).result();
    const model = await loadModel(TINY, { threads: 1 });
    const adapter = await applyAdapter(model, join(folder, "shipped"));
    const lines = completions("greedy", 1);
    const said = (prompt: { role: string; content: string }[], more: object) =>
      generate(model, { messages: prompt }, { maxNewTokens: 24, ...more }).result();
    for (const { prompt, completion } of lines) expect((await said(prompt, { adapter })).text).toBe(completion);
    expect((await said(lines[0].prompt, {})).text).not.toBe(lines[0].completion);
    await model.dispose();
  });

  it("killed at any moment and resumed it is the same run, byte for byte", { timeout: 240_000 }, async () => {
    for (const step of [6, 15, 27]) {
      const child = start("killed", ...(step > 6 ? ["--resume"] : []));
      const over = ended(child);
      let seen = "";
      child.stdout!.on("data", (chunk) => {
        seen += chunk;
        if (seen.includes(`"type":"step","metrics":{"step":${step},`)) child.kill("SIGKILL");
      });
      expect(await over).toBe(null);
    }
    expect(await ended(start("killed", "--resume"))).toBe(0);
    expect(bytes("killed")).toEqual(bytes("shipped"));
    expect(metrics("killed")).toEqual(metrics("shipped"));
    expect(completions("killed", 40)).toEqual(completions("shipped", 40));
  });
});
