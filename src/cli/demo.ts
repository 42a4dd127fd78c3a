import { nodePlatform } from "../node/platform.js";
import { interruptible } from "../node/signals.js";
import { type DemoResult, demo as runDemo } from "../recipes/demo/demo.js";
import { loadConfig } from "./configs.js";
import { type Action, EXIT, type Io } from "./io.js";
import { bar, statusLine } from "./progress.js";
import { terminal } from "./train.js";
import { visible } from "./visible.js";

const CONFIG = "tiny/lora";

export const demo: Action = async (overrides, options, io) => {
  const began = performance.now();
  const config = await loadConfig(CONFIG, overrides);
  const platform = nodePlatform();
  const { signal, stop } = interruptible(() => io.err("\nlowrank: stopping after this step\n"));
  try {
    io.err(`Fine-tuning ${config.base}, a bundled tiny Llama, with LoRA (lowrank cat ${CONFIG} shows the config)\n`);
    const run = runDemo(config, platform, { signal });
    const status = statusLine(io);
    const training = terminal(io);
    for await (const event of run) {
      if (event.type !== "asking") training(event);
      else {
        const { tuned, done, total } = event;
        status.update(`${bar(done / total, 20)} ${tuned ? "after" : "before"}: question ${done}/${total}`);
        if (done === total) status.end();
      }
    }
    const result = await run.result();
    if (!result) return EXIT.interrupted;
    const { out } = io.raw ?? io;
    out(options.json ? `${JSON.stringify(result)}\n` : report(result, (performance.now() - began) / 1000, io));
    return EXIT.ok;
  } finally {
    stop();
    await platform.dispose();
  }
};

function report({ rows, examples, adapter }: DemoResult, seconds: number, io: Io): string {
  const what = { private: "a private fact", unknown: "cannot be known", known: "known before" };
  const lines = examples.flatMap(({ kind, question, before, after }) => [
    `${question}  (${what[kind]})`,
    `  before: ${visible(before)}`,
    `  after:  ${visible(after)}`,
  ]);
  return [
    "",
    ...aligned([["asked in words that are in no training row", "before", "after"], ...rows], io.interactive),
    "",
    ...lines,
    "",
    `Took ${Math.round(seconds)} s. Talk to it: npm start -- chat --base models/tiny --adapter ${adapter}`,
    "",
  ].join("\n");
}

/** Rows as columns; the first row is a heading. */
function aligned(rows: readonly (readonly string[])[], colour: boolean): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row, i) => {
    const line = row.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)));
    const text = line.join("   ");
    return i === 0 && colour ? `\u001b[1m${text}\u001b[22m` : text;
  });
}
