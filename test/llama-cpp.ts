// llama.cpp itself, where node-llama-cpp is installed: its likeliest tokens, for comparison with ours.
import { execFile } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";

/** llama.cpp through node-llama-cpp: installed beside this package, or in the folder that LOWRANK_NODE_LLAMA_CPP names. */
const entry = join(
  process.env.LOWRANK_NODE_LLAMA_CPP ?? fileURLToPath(new URL("..", import.meta.url)),
  "node_modules/node-llama-cpp/dist/index.js",
);
export const llamaCpp = existsSync(entry) ? pathToFileURL(entry).href : undefined;
if (!llamaCpp)
  console.info(
    "llama.cpp's own tests are skipped: npm install node-llama-cpp in a folder and name it in LOWRANK_NODE_LLAMA_CPP",
  );

const SCRIPT = `
const [url, path, lora, ids, count] = process.argv.slice(2);
const { getLlama } = await import(url);
const llama = await getLlama({ gpu: false, build: "never", progressLogs: false, logLevel: "error" });
const model = await llama.loadModel({ modelPath: path });
const adapters = lora === "-" ? {} : { lora: { adapters: [{ filePath: lora, scale: 1 }] } };
const context = await model.createContext({ contextSize: 64, threads: 1, ...adapters });
const tokens = [];
for await (const token of context.getSequence().evaluate(ids.split(",").map(Number), { temperature: 0, yieldEogToken: true })) {
  tokens.push(token);
  if (tokens.length === Number(count)) break;
}
console.log(JSON.stringify(tokens));
process.exit(0);
`;

/** The likeliest tokens after a prompt by the GGUF at `path`, with the LoRA GGUF at `lora` ("-": none). */
export async function llamaCppGreedy(
  path: string,
  lora: string,
  prompt: readonly number[],
  count: number,
): Promise<number[]> {
  const script = `${path}.mjs`;
  writeFileSync(script, SCRIPT);
  const argv = [script, llamaCpp!, path, lora, prompt.join(), String(count)];
  const { stdout } = await promisify(execFile)(process.execPath, argv);
  return JSON.parse(stdout) as number[];
}

const TOKENIZE = `
const [url, path, text] = process.argv.slice(2);
const { getLlama } = await import(url);
const llama = await getLlama({ gpu: false, build: "never", progressLogs: false, logLevel: "error" });
const model = await llama.loadModel({ modelPath: path });
console.log(JSON.stringify(model.tokenize(text, true)));
process.exit(0);
`;

/** The tokens that the GGUF at `path` makes of a text, special tokens in it too. */
export async function llamaCppTokens(path: string, text: string): Promise<number[]> {
  const script = `${path}.tokenize.mjs`;
  writeFileSync(script, TOKENIZE);
  const { stdout } = await promisify(execFile)(process.execPath, [script, llamaCpp!, path, text]);
  return JSON.parse(stdout) as number[];
}

/** A byte-level tokenizer of the printable characters, the rest unknown. */
export function printable(size: number): object {
  const vocab = Object.fromEntries(
    Array.from({ length: size - 3 }, (_, i) => [String.fromCharCode(0x21 + i + (i > 93 ? 300 : 0)), i]),
  );
  const added = ["<unk>", "<s>", "</s>"].map((content, i) => ({ id: size - 3 + i, content, special: true }));
  return {
    added_tokens: added,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false },
    decoder: { type: "ByteLevel" },
    model: { type: "BPE", vocab, merges: [], unk_token: "<unk>" },
  };
}
