// Writes src/formats/fixtures/quantise-k.safetensors: values and their bytes by ggml's own quantize_row_q4_K_ref and
// quantize_row_q6_K_ref, called in the library that node-llama-cpp brings along (gguf, the Python package, has none).
//
//   npm install node-llama-cpp          in some folder
//   npm run build && node test/reference/make_quants_k.js FOLDER
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import koffi from "koffi";
import { random } from "../../dist/tensor/index.js";

const BLOCKS = 96;
const bins = join(process.argv[2], "node_modules/@node-llama-cpp/linux-x64/bins/linux-x64");
const library = koffi.load(
  join(
    bins,
    readdirSync(bins).find((name) => name.startsWith("libggml-base")),
  ),
);

// Scales over four decades, means off zero, outliers, blocks of zeros and groups of one value.
const rng = random(1, "k quants");
const values = new Float32Array(BLOCKS * 256);
for (let b = 0; b < BLOCKS; b++) {
  const [scale, mean] = [10 ** (-4 * rng.uniform()), b % 3 === 0 ? rng.normal() : 0];
  for (let i = 0; i < 256; i++) {
    const value = scale * (rng.normal() + mean) * (b % 7 === 0 && i % 50 === 0 ? 20 : 1);
    values[b * 256 + i] = b % 48 === 5 ? 0 : b % 4 === 1 && i < 64 ? 0.25 : value;
  }
}

const entries = { values: ["F32", [values.length], new Uint8Array(values.buffer)] };
for (const [type, name, bytes] of [
  ["q4_k", "quantize_row_q4_K_ref", 144],
  ["q6_k", "quantize_row_q6_K_ref", 210],
]) {
  const blocks = new Uint8Array(BLOCKS * bytes);
  library.func(`void ${name}(const float* x, void* y, int64_t k)`)(values, blocks, values.length);
  entries[`${type}.raw`] = ["U8", [blocks.length], blocks];
}

let offset = 0;
const header = { __metadata__: { format: "pt" } };
for (const [name, [dtype, shape, data]] of Object.entries(entries)) {
  header[name] = { dtype, shape, data_offsets: [offset, (offset += data.length)] };
}
const json = Buffer.from(JSON.stringify(header));
const length = Buffer.alloc(8);
length.writeBigUInt64LE(BigInt(Math.ceil(json.length / 8) * 8));
const padded = Buffer.concat([json, Buffer.alloc(Number(length.readBigUInt64LE()) - json.length, " ")]);
const data = Object.values(entries).map(([, , bytes]) => bytes);
const out = new URL("../../src/formats/fixtures/quantise-k.safetensors", import.meta.url);
writeFileSync(out, Buffer.concat([length, padded, ...data]));
