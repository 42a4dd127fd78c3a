import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { add, define, matmul } from "../graph/index.js";
import { startEngine } from "../node/engine.js";
import { CODECS, type CodecName, random, sizeOf } from "../tensor/index.js";
import {
  copyRows,
  type Device,
  encodedBytes,
  encodedView,
  type FilePlace,
  reshaped,
  tensor,
  type View,
} from "./index.js";

// The engine of the last build, in its worker: codecs are named across the port, files are read there.
let device: Device;
let folder: string;
beforeAll(async () => {
  device = await startEngine({ threads: 1 });
  folder = mkdtempSync(join(tmpdir(), "lowrank-encoded-"));
});
afterAll(async () => {
  await device.dispose();
  rmSync(folder, { recursive: true, force: true });
});

const SHAPE = [6, 256] as const;

/** Bytes of a tensor and what they decode to. Scales that are not finite are avoided: NaN equals nothing. */
function sample(codec: CodecName, seed: number): { bytes: Uint8Array<ArrayBuffer>; values: Float32Array } {
  const rng = random(seed, codec);
  const { block, decode } = CODECS[codec];
  const bytes = Uint8Array.from({ length: encodedBytes(codec, SHAPE) }, () => rng.below(64));
  const values = new Float32Array(sizeOf(SHAPE));
  expect(sizeOf(SHAPE) % block).toBe(0);
  decode(bytes, 0, values, 0, sizeOf(SHAPE) / block);
  return { bytes, values };
}

const plusOne = define("plus", (declare) => ({ y: add(declare("x", SHAPE), declare("one", [1])) }));

async function plus(x: View): Promise<Float32Array> {
  const program = device.compile(plusOne);
  const [one, y] = [tensor(device, "f32", [1]), tensor(device, "f32", SHAPE)];
  device.upload(one, Float32Array.of(1));
  device.run(program, { x, one }, { y });
  const result = (await device.download(y)) as Float32Array;
  device.release(program);
  for (const { buffer } of [one, y]) device.free(buffer);
  return result;
}

const resident = (codec: CodecName, bytes: Uint8Array<ArrayBuffer>): View => {
  const view = encodedView(device.allocate(bytes.length), codec, SHAPE);
  device.upload(view, bytes.slice());
  return view;
};

const inFile = (codec: CodecName, bytes: Uint8Array, place: Partial<FilePlace> = {}): View => {
  const path = join(folder, `${codec}-${Math.random()}`);
  writeFileSync(path, Buffer.concat([Buffer.alloc(13), bytes]));
  return encodedView(device.allocate({ path, offset: 13, bytes: bytes.length, ...place }), codec, SHAPE);
};

const ROWS_APART = (Object.keys(CODECS) as CodecName[]).filter((codec) => codec !== "nf4_dq");

describe.each(ROWS_APART)("%s", (codec) => {
  it("a run, a download and a look-up of rows see what the stored bytes decode to", async () => {
    const { bytes, values } = sample(codec, 1);
    const x = resident(codec, bytes);
    expect(await device.download(x)).toEqual(values);
    expect(await plus(x)).toEqual(values.map((v) => v + 1));
    const [rows, all] = [tensor(device, "f32", [3, 256]), tensor(device, "f32", SHAPE)];
    device.copy(x, all);
    expect(await device.download(all)).toEqual(values);
    copyRows(device, x, [5, 0, 5], rows);
    expect(await device.download(rows)).toEqual(
      Float32Array.from([5, 0, 5].flatMap((row) => [...values.subarray(row * 256, (row + 1) * 256)])),
    );
    for (const { buffer } of [x, rows, all]) device.free(buffer);
  });

  it("so do they where the bytes stay in a file, in its own or another order of rows", async () => {
    const { bytes, values } = sample(codec, 2);
    const rowTo = Uint32Array.of(1, 0, 3, 2, 5, 4);
    const swapped = Float32Array.from(values, (_, i) => values[(Math.floor(i / 256) ^ 1) * 256 + (i % 256)]!);
    const plain = inFile(codec, bytes);
    const turned = inFile(codec, bytes, { rowTo });
    expect(await device.download(plain)).toEqual(values);
    expect(await plus(turned)).toEqual(swapped.map((v) => v + 1));
    expect(await plus(plain)).toEqual(values.map((v) => v + 1));
    const rows = tensor(device, "f32", [2, 256]);
    copyRows(device, turned, [0, 3], rows);
    expect(await device.download(rows)).toEqual(
      Float32Array.from([...swapped.subarray(0, 256), ...swapped.subarray(3 * 256, 4 * 256)]),
    );
  });
});

it("nf4_dq, whose rows share scales: a run and a download see what the bytes decode to; rows cannot be looked up", async () => {
  const own = await startEngine({ threads: 1 });
  const { bytes, values } = sample("nf4_dq", 1);
  const x = resident("nf4_dq", bytes);
  expect(await device.download(x)).toEqual(values);
  expect(await plus(x)).toEqual(values.map((v) => v + 1));
  device.free(x.buffer);
  const other = encodedView(own.allocate(bytes.length), "nf4_dq", SHAPE);
  copyRows(own, other, [0], tensor(own, "f32", [1, 256]));
  await expect(own.flush()).rejects.toThrow("parts of nf4_dq cannot be looked up");
  await own.dispose();
});

it("weights that take turns under one name never see each other's values; memory is one place a name", async () => {
  const program = device.compile(plusOne);
  const [a, b] = [sample("nf4", 3), sample("nf4", 4)];
  const views = [resident("nf4", a.bytes), resident("nf4", b.bytes)];
  const [one, y] = [tensor(device, "f32", [1]), tensor(device, "f32", SHAPE)];
  const before = (await device.memory()).buffers;
  for (const i of [0, 1, 1, 0, 1]) {
    device.run(program, { x: views[i]!, one }, { y });
    expect(await device.download(y)).toEqual([a, b][i]!.values);
    device.run(program, { one }, { y }, [device.bind({ x: views[i]! })]);
    expect(await device.download(y)).toEqual([a, b][i]!.values);
  }
  expect((await device.memory()).buffers - before).toBe(4 * sizeOf(SHAPE));
  device.upload(views[1]!, a.bytes.slice());
  device.run(program, { x: views[1]!, one }, { y });
  expect(await device.download(y)).toEqual(a.values);
  device.release(program);
  expect((await device.memory()).buffers).toBe(before);
});

it("one tensor that is two inputs of a run is decoded once", async () => {
  const { bytes } = sample("q8_0", 5);
  const program = device.compile(
    define("product", (declare) => ({ y: matmul(declare("a", SHAPE), declare("b", SHAPE), { transB: true }) })),
  );
  const view = resident("q8_0", bytes);
  const y = tensor(device, "f32", [6, 6]);
  const before = (await device.memory()).buffers;
  device.run(program, { a: view, b: view }, { y });
  expect((await device.memory()).buffers - before).toBe(4 * sizeOf(SHAPE));
  device.release(program);
});

it("encoded views are refused where only fp32 in memory will do", () => {
  const view = resident("nf4", sample("nf4", 6).bytes);
  const dense = tensor(device, "f32", SHAPE);
  expect(() => device.copy(dense, view)).toThrow("stored as nf4, fp32 is needed");
  expect(() => reshaped(view, [256, 6])).toThrow("stored as nf4");
  expect(() => encodedView(view.buffer, "q8_0", SHAPE)).toThrow("takes 1632 bytes, the buffer has 864");
  expect(() => encodedBytes("q4_k", [3, 100])).toThrow("whole number of q4_k blocks");
  expect(() => device.upload(view, new Uint8Array(1))).toThrow("upload of 1 bytes into nf4");
  expect(() => copyRows(device, view, [6], tensor(device, "f32", [1, 256]))).toThrow(
    "copy of f32[6,256] into f32[1,256]",
  );
});

it("a file that shrank under a run is an error that names it", async () => {
  const own = await startEngine({ threads: 1 });
  const path = join(folder, "short");
  writeFileSync(path, "x");
  const view = encodedView(own.allocate({ path, offset: 0, bytes: 16 }), "f32", [4]);
  await expect(own.download(view)).rejects.toThrow(`${path}: the file ends at byte 1`);
  await own.dispose();
});
