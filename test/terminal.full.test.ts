import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import type { Io } from "../src/cli/io.js";
import { main } from "../src/cli/main.js";

// The command line as a shell runs it: real pipes, real signals, a real terminal.
const ROOT = fileURLToPath(new URL("../", import.meta.url));
const BIN = join(ROOT, "bin/lowrank.js");
const BASE = ["--base", "models/tiny"];
const TRAIN = ["train", "--config", "tiny/lora", "threads=1", "eval_every=0"];
const posix = process.platform !== "win32";

const folder = mkdtempSync(join(tmpdir(), "lowrank-terminal-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string) => join(folder, name);

const run = (...args: string[]) => spawnSync(process.execPath, [BIN, ...args], { cwd: ROOT, encoding: "utf8" });
const start = (args: string[], env: Record<string, string> = {}): ChildProcess =>
  spawn(process.execPath, [BIN, ...args], { cwd: ROOT, env: { ...process.env, ...env } });

/** Waits until a stream has said something; after forty seconds, and at its end, says what it said instead. */
function heard(stream: Readable, what: string | RegExp, before = ""): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = before;
    const settle = (wrong?: string): void => {
      clearTimeout(timer);
      stream.off("data", take).off("end", end).pause();
      if (wrong === undefined) resolve(text);
      else reject(new Error(`${wrong} without ${what}:\n${JSON.stringify(text)}`));
    };
    const take = (chunk: unknown) => {
      text += chunk;
      if (typeof what === "string" ? text.includes(what) : what.test(text)) settle();
    };
    const end = () => settle("it ended");
    const timer = setTimeout(settle, 40_000, "forty seconds went by");
    stream.on("data", take).on("end", end).resume();
  });
}

/** How a fine-tuning job of one step ends. */
async function jobOn(url: string): Promise<string> {
  const ask = async (path: string, init?: RequestInit) =>
    (await (await fetch(`${url}/${path}`, init)).json()) as { id: string; status: string };
  const form = new FormData();
  form.set("purpose", "fine-tune");
  form.set("file", new Blob(['{"prompt": "The ", "completion": "sea"}\n']), "rows.jsonl");
  const { id: training_file } = await ask("files", { method: "POST", body: form });
  const body = JSON.stringify({ model: "tiny", training_file, hyperparameters: { n_epochs: 1, batch_size: 1 } });
  const headers = { "content-type": "application/json" };
  const { id } = await ask("fine_tuning/jobs", { method: "POST", headers, body });
  for (;;) {
    const { status } = await ask(`fine_tuning/jobs/${id}`);
    if (["succeeded", "failed", "cancelled"].includes(status)) return status;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

describe.skipIf(!posix)("closed pipes", () => {
  const shell = (script: string) => spawnSync("bash", ["-c", script], { cwd: ROOT, encoding: "utf8" });
  const lowrank = `"${process.execPath}" "${BIN}"`;

  it.each([
    `preview ${BASE.join(" ")} --data models/tiny/data/train.jsonl --rows 400`,
    "cat llama3/8B_lora",
    "inspect models/tiny --json",
    "completion zsh",
    "ls",
    `generate ${BASE.join(" ")} --input "${folder}/many.jsonl" --max-new-tokens 4`,
  ])("| head ends %s quietly", (verb) => {
    writeFileSync(at("many.jsonl"), '{"prompt": "The "}\n'.repeat(50));
    const { stdout } = shell(
      `{ ${lowrank} ${verb} 2>"${folder}/err"; echo "exit $?" >&2; } 2>"${folder}/code" | head -c 20`,
    );
    expect(stdout.length).toBe(20);
    expect(readFileSync(at("code"), "utf8")).toMatch(/^exit 0/);
    expect(readFileSync(at("err"), "utf8")).not.toMatch(/^ +at |EPIPE|Unhandled|node:/m);
  });

  it("training goes on to its end when nobody reads its output and its errors", async () => {
    const child = start([...TRAIN, "--json", `output_dir=${at("unread")}`, "max_steps=12"]);
    await heard(child.stdout!, '"type":"step"');
    child.stdout!.destroy();
    child.stderr!.destroy();
    expect((await once(child, "exit"))[0]).toBe(0);
    expect(existsSync(join(at("unread"), "adapter/adapter_model.safetensors"))).toBe(true);
    expect(
      readFileSync(join(at("unread"), "metrics.jsonl"), "utf8")
        .trim()
        .split("\n"),
    ).toHaveLength(12);
  });

  it("a server answers and trains on when nobody reads its log", async () => {
    const child = start(["serve", ...BASE, "--base-id", "tiny", "--port", "0", "--data-dir", at("served")]);
    const [, url] = /listening on (\S+)\/v1/.exec(await heard(child.stdout!, /listening on \S+\/v1/))!;
    child.stdout!.destroy();
    child.stderr!.destroy();
    const body = JSON.stringify({ model: "tiny", prompt: "The", max_tokens: 2 });
    const headers = { "content-type": "application/json" };
    for (let i = 0; i < 4; i++) {
      const reply = await fetch(`${url}/v1/completions`, { method: "POST", headers, body });
      expect(reply.status).toBe(200);
      await reply.text();
    }
    await expect(jobOn(`${url}/v1`)).resolves.toBe("succeeded");
    child.kill("SIGTERM");
    expect((await once(child, "exit"))[0]).toBe(0);
  });

  it.skipIf(!existsSync("/dev/full"))("what a full disk swallows is not passed over in silence", () => {
    const { stderr, status } = shell(`${lowrank} ls > /dev/full`);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^lowrank: standard output: .*ENOSPC.*what was printed is not whole\n$/);
  });
});

describe("long command lines", () => {
  const prompt = (length: number) => "The quick brown fox. ".repeat(6000).slice(0, length);
  it.each([100, 7000, 9000, 100_000])("a prompt of %i characters is answered, or refused with the limit", (length) => {
    const { stderr, status, signal } = run("generate", ...BASE, "--prompt", prompt(length), "--max-new-tokens", "4");
    expect(signal).toBeNull();
    if (length === 100) expect(status).toBe(0);
    else expect(stderr).toMatch(/the prompt has at least \d+ tokens; the model's context holds 256/);
  });

  it("a long path is refused with a message", () => {
    const { stderr, signal } = run("generate", ...BASE, "--prompt", "a", "--adapter", "x".repeat(20_000));
    expect(signal).toBeNull();
    expect(stderr).toMatch(/^lowrank: x{100}/m);
  });

  it("prompts of every length up to the context are answered, and one more is refused", async () => {
    const rows = Array.from({ length: 64 }, (_, i) => ({ prompt: "a b".repeat(1 + i) }));
    writeFileSync(at("lengths.jsonl"), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
    const args = ["generate", ...BASE, "--input", at("lengths.jsonl"), "--max-new-tokens", "1", "--json"];
    const { stdout, stderr, signal } = run(...args);
    expect(signal).toBeNull();
    const lengths = stdout
      .trim()
      .split("\n")
      .map((line) => (JSON.parse(line) as { prompt_ids: number[] }).prompt_ids.length);
    expect(lengths.length).toBeGreaterThan(40);
    if (lengths.length < rows.length) expect(stderr).toContain("the model's context of 256");
    expect(Math.max(...lengths)).toBeLessThanOrEqual(256);
  });
});

describe("paths are taken as they are", () => {
  const root = process.cwd();
  beforeAll(() => {
    mkdirSync(at("cwd"));
    process.chdir(at("cwd"));
  });
  afterAll(() => process.chdir(root));

  /** What bin/lowrank.js calls, in this process and its folder. */
  async function lowrank(...args: string[]): Promise<{ code: number; err: string }> {
    let err = "";
    const io: Io = { out: () => {}, err: (text) => void (err += text), interactive: false, columns: 80 };
    return { code: await main(args, io), err };
  }

  const names = ["run #2", ' "日本": é=y ', "tail/"];
  it.each(names)("--output %j", async (name) => {
    const args = ["train", "--config", "tiny/lora", "--output", name, "max_steps=1", "threads=1", "eval_every=0"];
    const { code, err } = await lowrank(...args);
    expect(err).toContain("done:");
    expect(code).toBe(0);
    expect(readdirSync(at("cwd"))).toContain(name.replace(/\/$/, ""));
  });

  it("~ is the home folder in flags, overrides and YAML, and no folder of that name comes to be", async () => {
    mkdirSync(at("home"));
    writeFileSync(
      at("my.yaml"),
      `base: models/tiny\ndata: {train: ${ROOT}models/tiny/data/train.jsonl}\noutput_dir: ~/yaml\n`,
    );
    vi.stubEnv("HOME", at("home"));
    vi.stubEnv("USERPROFILE", at("home"));
    onTestFinished(() => void vi.unstubAllEnvs());
    const more = ["max_steps=1", "threads=1", "eval_every=0"];
    const ways = [
      ["--config", "tiny/lora", "--output=~/flag"],
      ["--config", "tiny/lora", "output_dir=~/override"],
      ["--config=~/../my.yaml"],
    ];
    for (const way of ways) expect((await lowrank("train", ...way, ...more)).err).toContain("done:");
    expect(readdirSync(at("home")).sort()).toEqual(["flag", "override", "yaml"]);
    expect(readdirSync(at("cwd"))).not.toContain("~");
  });

  it("an empty path, and one with a control character, are refused", () => {
    expect(run(...TRAIN, "--output", "")).toMatchObject({
      status: 2,
      stderr: "lowrank: --output: the path is empty\n",
    });
    expect(run("inspect", "a\u001b[2Jb").stderr).toBe(
      'lowrank: <path>: a path cannot hold the control character "\\u001b", as "a\\u001b[2Jb" does\n',
    );
    expect(run(...TRAIN, `output_dir=${join(ROOT, "package.json")}`).stderr).toContain(
      "is a file, a folder was expected",
    );
  });

  it("escape sequences in a file are printed as text", () => {
    writeFileSync(at("evil.yaml"), '"\\e[2J\\u202ekey": 1\nbase: x\ndata: {train: "y"}\n');
    const { stdout } = run("validate", at("evil.yaml"));
    expect(stdout).toContain("\\u001b[2J\\u202ekey: unknown key");
    expect(stdout).not.toContain("\u001b");
  });
});

describe.skipIf(!posix)("signals", () => {
  it.each(["SIGHUP", "SIGTERM"] as const)(
    "%s finishes the step and writes a checkpoint, also when it comes twice",
    async (name) => {
      const child = start([...TRAIN, "--json", `output_dir=${at(name)}`, "max_steps=100000", "save_every=0"]);
      await heard(child.stdout!, '"type":"step"');
      child.stdout!.resume();
      child.kill(name);
      if (name === "SIGHUP") child.kill(name);
      expect((await once(child, "exit"))[0]).toBe(130);
      expect(readdirSync(join(at(name), "checkpoints"))[0]).toMatch(/^step-\d+$/);
    },
  );
});

// script(1) of util-linux gives a program a terminal; others' take other arguments.
const hasScript = process.platform === "linux" && spawnSync("script", ["--version"]).status === 0;
describe.skipIf(!hasScript)("a chat in a terminal (skipped without util-linux's script)", () => {
  /** Types into a chat; each entry is typed once what stands before it was seen since the last. */
  async function typed(...turns: [seen: RegExp, keys: string][]): Promise<string> {
    const command = `"${process.execPath}" "${BIN}" chat ${BASE.join(" ")} --max-new-tokens 240 --temperature 1.5 --top-k 0`;
    const env = { ...process.env, LOWRANK_HISTORY: at("history"), TERM: "xterm", CI: undefined }; // CI: no live lines
    const child = spawn("script", ["-qfec", command, "/dev/null"], { cwd: ROOT, env });
    const ended = once(child, "exit");
    let [all, rest] = ["", ""]; // a slow reader gets several turns in one piece: what follows a match belongs to the next
    for (const [seen, keys] of turns) {
      if (!seen.test(rest)) rest = await heard(child.stdout, seen, rest);
      const { 0: match, index } = seen.exec(rest)!;
      all += rest.slice(0, index + match.length);
      rest = rest.slice(index + match.length);
      child.stdin.write(keys);
    }
    all += rest;
    child.stdout.on("data", (text) => (all += text));
    const late = setTimeout(() => child.kill("SIGKILL"), 30_000);
    const [code] = await ended;
    clearTimeout(late);
    expect(code, `the chat did not end by itself: ${JSON.stringify(all)}`).toBe(0);
    return all;
  }

  it("Ctrl-C stops the answer and clears a line, and the chat goes on until Ctrl-D", async () => {
    rmSync(at("history"), { force: true });
    const screen = await typed(
      [/> /, "Where does Ada live?\r"],
      [/Ada live\?\s+\S/, "\u0003"],
      [/tokens\/s\)[^>]*> /, "never asked\u0003"],
      [/> /, "\u0003"],
      // What came of the first answer must leave room for the next: on a slow machine it is over before Ctrl-C.
      [/Ctrl-D or \/quit ends the chat/, "/reset\r"],
      [/forgotten[^>]*> /, '"""\r'],
      [/\.{3} /, "two\r"],
      [/\.{3} /, 'lines"""\r'],
      [/tokens\/s\)[^>]*> /, "\u0004"],
    );
    expect(screen.match(/tokens\/s\)/g)).toHaveLength(2);
    const history = readFileSync(at("history"), "utf8");
    expect(history).toBe('Where does Ada live?\n/reset\n"""\ntwo\nlines"""\n');
  });

  it("the arrow keys bring back what an earlier chat was asked", async () => {
    writeFileSync(at("history"), "/scale 3\n");
    const screen = await typed([/> /, "\u001b[A\r"], [/nothing to scale/, "\u0004"]);
    expect(screen).toContain("the bare base has nothing to scale");
  });
});
