// Fine-tunes in this tab: a base from the address in the form, rows from the text beside it. Nothing leaves the page.
import { applyAdapter, createBrowserApi, generate, UserError } from "lowrank/browser";

const field = (id) => document.getElementById(id);
const say = (text) => field("log").append(`${text}\n`);
const BASE = ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "model.safetensors"];
const OUTPUT = "runs/example";

const lowrank = await createBrowserApi({ engine: "onnxruntime-web/" });
for (const note of lowrank.notes) say(note);
for (const { outputDir, step } of await lowrank.unfinished())
  say(`${outputDir} was left after step ${step}: train goes on there`);

field("train").addEventListener("click", async () => {
  field("train").disabled = true;
  try {
    await train();
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    say(error.message);
  } finally {
    field("train").disabled = false;
  }
});
field("train").disabled = false;

async function train() {
  const question = [{ role: "user", content: field("question").value }];
  for (const name of BASE)
    if (!(await lowrank.files.stat(`base/${name}`))) await lowrank.download(field("base").value + name, `base/${name}`);
  await lowrank.files.write("rows.jsonl", field("rows").value);
  await answer("before", question);
  const run = lowrank.loraFinetune(
    {
      base: "base",
      data: { train: "rows.jsonl", maxSeqLen: 128 },
      lora: { targetModules: "all-linear" },
      optimizer: { lr: 5e-3 },
      maxSteps: Number(field("steps").value),
      outputDir: OUTPUT,
    },
    { resume: true },
  );
  for await (const event of run) {
    if (event.type === "note") say(event.message);
    if (event.type === "step") say(`step ${event.metrics.step}: loss ${event.metrics.loss.toFixed(4)}`);
  }
  await answer("after", question, `${OUTPUT}/adapter`);
}

async function answer(when, messages, folder) {
  const model = await lowrank.loadModel("base");
  const adapter = folder && (await applyAdapter(model, folder));
  const { text } = await generate(
    model,
    { messages },
    { maxNewTokens: 24, temperature: 0, ...(adapter ? { adapter } : {}) },
  ).result();
  say(`${when}: ${text}`);
  await model.dispose();
}
