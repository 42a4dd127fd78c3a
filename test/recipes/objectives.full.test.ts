import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Io } from "../../src/cli/io.js";
import { main } from "../../src/cli/main.js";
import type { RowKind } from "../../src/data/row.js";
import { loadModel, serve } from "../../src/node/index.js";
import { OBJECTIVES, type ObjectiveName } from "../../src/training/objectives/index.js";
import type { ObjectiveKind } from "../../src/training/objectives/objective.js";
import { TINY, TINY_ROWS } from "../tiny-run.js";
import { adapterBytes, metricsOf } from "./run-folder.js";

// Every objective of the table, and with them every kind and start of adapters, from rows to a served and exported adapter, through the
// command line; one of the runs is killed.
const BIN = fileURLToPath(new URL("../../bin/lowrank.js", import.meta.url));
const STEPS = 6;
type Message = { role: string; content: string };

/** A row of each kind, out of a conversation and an answer that is worse. */
const ROWS: Readonly<Record<RowKind, (prompt: Message[], answer: Message, worse: Message, i: number) => object>> = {
  texts: (prompt, answer) => ({ messages: [...prompt, answer] }),
  pairs: (prompt, answer, worse) => ({ prompt, chosen: [answer], rejected: [worse] }),
  judged: (prompt, answer, worse, i) => ({ prompt, completion: [i % 2 ? answer : worse], label: i % 2 === 1 }),
  prompts: (prompt, answer) => ({ prompt, answer: answer.content }),
};

/** What an objective needs beside its rows, by their kind. */
const NEEDS: Partial<Record<RowKind, readonly string[]>> = {
  prompts: [
    ...["objective.num_generations=4", "objective.max_completion_length=24"],
    "objective.rewards=[{name: length, unit: characters, max: 16}]",
  ],
};

/** What is trained by which objective: all of both are there. */
const ADAPTERS: Readonly<Record<ObjectiveName, readonly string[]>> = {
  sft: ["optimizer.loraplus_lr_ratio=4"],
  dpo: ["lora.use_dora=true"],
  kto: ["lora.init=pissa"],
  orpo: ["lora.modules_to_save=[norm]", "lora.trainable_token_indices=[40,41]"],
  simpo: ["lora.init=olora"],
  cpo: ["lora.lora_bias=true"],
  distill: ["lora.init=eva"],
  grpo: ["lora.init=loftq", "base_precision=nf4"],
};

let folder: string;
const at = (name: string) => join(folder, name);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-objectives-"));
  const chats = readFileSync(TINY_ROWS, "utf8")
    .split("\n")
    .slice(0, 16)
    .map((line) => (JSON.parse(line) as { messages: Message[] }).messages);
  const worse = (i: number) => ({ role: "assistant", content: `Nobody knows ${i}.` });
  for (const [kind, row] of Object.entries(ROWS)) {
    const lines = chats.map((all, i) => JSON.stringify(row(all.slice(0, -1), all.at(-1)!, worse(i), i)));
    writeFileSync(at(`${kind}.jsonl`), lines.join("\n"));
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function lowrank(...args: string[]): Promise<{ code: number | null; text: string }> {
  let text = "";
  const say = (more: string) => void (text += more);
  const io: Io = { out: say, err: say, interactive: false, columns: 80 };
  return { code: await main(args, io), text };
}

/** What is said to train by an objective; all that it needs and that is not its default. */
function argsOf(name: ObjectiveName, output: string): string[] {
  const { rows, usesTeacher }: ObjectiveKind = OBJECTIVES[name];
  const data = ["--data", at(`${rows}.jsonl`), "data.validation=0.25", "data.max_seq_len=96"];
  const run = [`max_steps=${STEPS}`, "save_every=2", "eval_every=3", "batch_size=2", "gradient_accumulation_steps=2"];
  const objective = [
    `objective.name=${name}`,
    ...(usesTeacher ? ["objective.teacher_prompt=Nobody knows."] : []),
    ...(NEEDS[rows] ?? []),
  ];
  const dropout = name === "cpo" ? [] : ["lora.dropout=0.1"]; // PEFT takes none beside lora_bias
  const targets = ["lora.target_modules=all-linear", "optimizer.lr=2e-3", "threads=1"];
  const adapter = [...targets, ...dropout, ...ADAPTERS[name]];
  return ["train", "--base", TINY, "--output", at(output), ...data, ...run, ...objective, ...adapter];
}

/** Waits for a run's first checkpoint. */
async function firstCheckpoint(child: ChildProcess): Promise<void> {
  let text = "";
  for await (const chunk of child.stdout!.iterator({ destroyOnReturn: false })) {
    text += chunk;
    if (text.includes('"type":"checkpoint"')) return;
  }
  throw new Error(`the run ended before its first checkpoint:\n${text}`);
}

const metrics = (name: string) => metricsOf(at(name));
const bytes = (name: string) => adapterBytes(at(name));

describe.each(Object.keys(OBJECTIVES) as ObjectiveName[])("objective %s", (name) => {
  it("is trained, and after kill -9 resumed to the same bytes and metrics", async () => {
    const whole = await lowrank(...argsOf(name, `${name} whole`));
    expect(whole.code, whole.text).toBe(0);
    const child = spawn(process.execPath, [BIN, ...argsOf(name, name), "--json"], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    const closed = once(child, "close");
    await firstCheckpoint(child);
    child.kill("SIGKILL");
    await closed;
    expect(existsSync(at(`${name}/adapter`))).toBe(false);
    const resumed = await lowrank(...argsOf(name, name), "--resume");
    expect(resumed.code, resumed.text).toBe(0);
    expect(resumed.text).toMatch(/resuming after step [2-5]/);
    expect(bytes(name)).toEqual(bytes(`${name} whole`));
    expect(metrics(name)).toEqual(metrics(`${name} whole`));
    const steps = metrics(name).filter((row) => "loss" in row);
    expect(steps).toHaveLength(STEPS);
    for (const { loss, grad_norm } of steps) {
      expect(loss).toBeTypeOf("number");
      // All completions of a prompt may be worth the same: then there is nothing to learn.
      if (OBJECTIVES[name].rows !== "prompts") expect(grad_norm).toBeGreaterThan(0);
    }
    expect(steps.some(({ grad_norm }) => grad_norm! > 0)).toBe(true);
    expect(metrics(name).flatMap(({ eval_loss, eval_reward }) => eval_loss ?? eval_reward ?? [])).toHaveLength(2);
  });

  it("what comes out is served beside its base", async () => {
    const base = await loadModel(TINY, { threads: 1 });
    const serving = await serve(base, { adapters: { tuned: at(`${name}/adapter`) }, port: 0 });
    try {
      const ask = async (model: string) => {
        const response = await fetch(`${serving.url}/v1/chat/completions`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({
            model,
            messages: [{ role: "user", content: "Where does Jorian live?" }],
            temperature: 0,
            max_tokens: 8,
            logprobs: true,
          }),
        });
        expect(response.status).toBe(200);
        const { choices } = (await response.json()) as {
          choices: { logprobs: { content: { logprob: number }[] } }[];
        };
        return choices[0]!.logprobs.content.map(({ logprob }) => logprob);
      };
      expect(await ask("tuned")).not.toEqual(await ask(serving.baseId));
    } finally {
      await serving.close();
      await base.dispose();
    }
  });

  it("and exported: the gate finds that it answers as the adapter does", async () => {
    const { code, text } = await lowrank(
      ...["export", "--base", TINY, "--adapter", at(`${name}/adapter`), "--to", "gguf", "--output", at(`${name}.gguf`)],
    );
    expect(code, text).toBe(0);
    expect(existsSync(at(`${name}.gguf`))).toBe(true);
  });
});
