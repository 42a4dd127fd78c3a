// Greedy tokens of a GGUF file in llama.cpp, as one JSON line:
//   node llama-cpp.js ENTRY_OF_NODE_LLAMA_CPP MODEL LORA_OR_- IDS COUNT
import { pathToFileURL } from "node:url";

const [entry, modelPath, lora, ids, count] = process.argv.slice(2);
const { getLlama } = await import(pathToFileURL(entry).href);
const llama = await getLlama({ gpu: false, build: "never", progressLogs: false, logLevel: "error" });
const model = await llama.loadModel({ modelPath });
const adapters = lora === "-" ? {} : { lora: { adapters: [{ filePath: lora, scale: 1 }] } };
const context = await model.createContext({ contextSize: 256, threads: 2, ...adapters });
const tokens = [];
const prompt = ids.split(",").map(Number);
for await (const token of context.getSequence().evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
  tokens.push(token);
  if (tokens.length === Number(count)) break;
}
console.log(JSON.stringify(tokens));
process.exit(0);
