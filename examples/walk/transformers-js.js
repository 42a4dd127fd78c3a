// The answer of an exported ONNX folder in transformers.js, as one JSON line:
//   node transformers-js.js ENTRY_OF_TRANSFORMERS FOLDER NAME MESSAGES COUNT
import { pathToFileURL } from "node:url";

const [entry, folder, name, messages, count] = process.argv.slice(2);
const { env, pipeline } = await import(pathToFileURL(entry).href);
env.allowRemoteModels = false;
env.localModelPath = folder;
const answer = await pipeline("text-generation", name, { dtype: "fp32" });
const [{ generated_text }] = await answer(JSON.parse(messages), { max_new_tokens: Number(count), do_sample: false });
console.log(JSON.stringify(generated_text.at(-1).content));
