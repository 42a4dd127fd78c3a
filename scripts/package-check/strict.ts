// A strict program against the types of an installed package. It is compiled, not run.
import {
  applyAdapter,
  createApi,
  downloadModel,
  evaluate,
  type GenerateTextOptions,
  generate,
  loadModel,
  loraFinetune,
  nodePlatform,
  type Platform,
  plan,
  type ServeOptions,
  serve,
  type TrainOptions,
  UserError,
} from "lowrank";
import { createAdapterRegistry, createServer, openFineTuning, type ServerOptions } from "lowrank/server";

const options: TrainOptions = {
  base: "models/tiny",
  data: { train: "rows.jsonl", validation: 0.1 },
  lora: { r: 4, targetModules: "all-linear", rankPattern: { v_proj: 8 } },
  optimizer: { betas: [0.9, 0.95] },
  objective: { name: "dpo", beta: 0.2, lossType: ["sigmoid", "sft"] },
};
const sampling: GenerateTextOptions = { maxNewTokens: 4, temperature: 0.5 };
const serving: ServeOptions = { port: 0, adapters: { one: "runs/one/adapter" } };
const guarded: ServerOptions = { apiKey: "key" };

export async function main(): Promise<number> {
  const run = loraFinetune(options);
  for await (const event of run) if (event.type === "step") console.log(event.metrics.loss.toFixed(3));
  const model = await loadModel(await downloadModel("owner/name@v1"), { device: "cpu" });
  const adapter = await applyAdapter(model, "runs/lora/adapter");
  const { text } = await generate(
    model,
    { messages: [{ role: "user", content: "Hi" }] },
    { ...sampling, adapter },
  ).result();
  console.log(text, (await evaluate(model, "rows.jsonl")).loss, await plan(options));
  const server = await serve(model, serving);
  await server.close();
  const platform: Platform = nodePlatform();
  await createApi(platform).inspect("models/tiny");
  await platform.dispose();
  console.log(createServer, openFineTuning, createAdapterRegistry, guarded);
  return new UserError("x").code === "invalid_value" ? 1 : 0;
}

// @ts-expect-error there is no such key
loraFinetune({ base: "models/tiny", data: { train: "rows.jsonl" }, loar: {} });
// @ts-expect-error data is needed
loraFinetune({ base: "models/tiny" });
