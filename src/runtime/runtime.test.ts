import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { deviceHere } from "../../test/conformance/run.js";
import { add, define, type Fn, gather, matmul, mul, scalar } from "../graph/index.js";
import type { TypedArray } from "../tensor/index.js";
import { type Buffer, type Device, reshaped, rowsOf, tensor, type View, view } from "./index.js";

const scaleBy = (factor: number, n = 4): Fn =>
  define("scale", (declare) => ({ y: mul(declare("x", [n]), scalar(factor)) }));
const increment = define("increment", (declare) => ({ y: add(declare("x", [1]), scalar(1)) }));

describe("views", () => {
  const buffer: Buffer = { id: 1, bytes: 64 };

  it("stay inside their buffer, on multiples of their element's size", () => {
    expect(view(buffer, "f32", [4, 4])).toEqual({ buffer, dtype: "f32", shape: [4, 4], offset: 0 });
    expect(() => view(buffer, "f32", [17])).toThrow("view f32[17] at byte 0 does not fit a buffer of 64 bytes");
    expect(() => view(buffer, "f32", [1], 64)).toThrow("does not fit");
    expect(() => view(buffer, "f32", [1], -4)).toThrow("does not fit");
    expect(() => view(buffer, "f32", [1], 2)).toThrow("not a multiple of 4");
    expect(() => view(buffer, "i64", [1], 4)).toThrow("not a multiple of 8");
  });

  it("rows are counted in the view, not in the buffer", () => {
    const half = view(buffer, "f32", [2, 4], 32);
    expect(rowsOf(half, 1, 1)).toEqual({ buffer, dtype: "f32", shape: [1, 4], offset: 48 });
    expect(() => rowsOf(view(buffer, "f32", [2, 4]), 1, 2)).toThrow(RangeError);
    expect(() => rowsOf(half, -1, 1)).toThrow(RangeError);
    expect(reshaped(half, [8])).toEqual({ buffer, dtype: "f32", shape: [8], offset: 32 });
    expect(() => reshaped(half, [9])).toThrow(RangeError);
  });
});

describe("a device on ONNX Runtime", () => {
  let device: Device;
  beforeEach(async () => {
    device = await deviceHere("cpu", 1);
  });
  afterEach(() => device.dispose());

  const from = (...values: number[]): View => {
    const v = tensor(device, "f32", [values.length]);
    device.upload(v, Float32Array.from(values));
    return v;
  };
  const read = async (v: View): Promise<number[]> => [...((await device.download(v)) as Float32Array)];

  it("memory starts as zeros", async () => {
    expect(await read(tensor(device, "f32", [3]))).toEqual([0, 0, 0]);
  });

  it("reads and fills sub-ranges in place, neighbours untouched", async () => {
    const all = from(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12);
    const [first, last] = [view(all.buffer, "f32", [4], 0), view(all.buffer, "f32", [4], 32)];
    device.run(device.compile(scaleBy(10)), { x: first }, { y: last });
    expect(await read(all)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 10, 20, 30, 40]);
  });

  it("a download gives what is there when it is asked for, whatever is queued behind it", async () => {
    const x = from(1, 2, 3, 4);
    const first = read(x);
    device.run(device.compile(scaleBy(10)), { x: from(5, 6, 7, 8) }, { y: x });
    const second = read(x);
    device.upload(x, Float32Array.of(9, 9, 9, 9));
    const third = read(x);
    expect(await Promise.all([first, second, third])).toEqual([
      [1, 2, 3, 4],
      [50, 60, 70, 80],
      [9, 9, 9, 9],
    ]);
  });

  it("what is bound is an input of every run until it is not: runs see what is in it by then", async () => {
    const program = device.compile(scaleBy(10));
    const [x, y] = [from(1, 2, 3, 4), tensor(device, "f32", [4])];
    const bound = device.bind({ x });
    device.run(program, {}, { y }, [bound]);
    expect(await read(y)).toEqual([10, 20, 30, 40]);
    device.upload(x, Float32Array.of(5, 6, 7, 8));
    device.run(program, {}, { y }, [bound]);
    expect(await read(y)).toEqual([50, 60, 70, 80]);
    expect(() => device.run(program, {}, { y }, [device.bind({ z: x })])).toThrow("input 'x' is missing");
    device.unbind(bound);
    device.run(program, {}, { y }, [bound]);
    await expect(device.flush()).rejects.toThrow("are not bound any more");
  });

  it("runs everything in the order given, however many commands", async () => {
    const program = device.compile(increment);
    const [a, b] = [from(0), tensor(device, "f32", [1])];
    for (let i = 0; i < 500; i++) {
      device.run(program, { x: a }, { y: b });
      device.copy(b, a);
    }
    expect(await read(a)).toEqual([500]);
  });

  it("a download sees what was queued before it and nothing after, awaited or not", async () => {
    const program = device.compile(increment);
    const [a, b] = [from(0), tensor(device, "f32", [1])];
    const seen: Promise<TypedArray>[] = [];
    for (let i = 0; i < 20; i++) {
      device.run(program, { x: a }, { y: b });
      device.copy(b, a);
      seen.push(device.download(a));
    }
    expect((await Promise.all(seen)).map((data) => data[0])).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
  });

  it("uploads and copies bytes, whatever the array's type", async () => {
    const v = tensor(device, "f32", [2]);
    device.upload(v, new Uint8Array(Float32Array.of(1.5, -2).buffer));
    expect(await read(v)).toEqual([1.5, -2]);
    const ids = tensor(device, "i64", [2]);
    device.upload(ids, BigInt64Array.of(7n, -1n));
    expect(await device.download(ids)).toEqual(BigInt64Array.of(7n, -1n));
  });

  it("sizes that do not fit are refused at once", () => {
    const v = tensor(device, "f32", [2]);
    expect(() => device.upload(v, new Float32Array(3))).toThrow("upload of 12 bytes into f32[2]");
    expect(() => device.copy(v, tensor(device, "f32", [3]))).toThrow("copy of f32[2] into f32[3]");
    const ids = tensor(device, "i64", [1]);
    const [rows, cache] = [tensor(device, "f32", [1, 1, 2, 1, 3]), tensor(device, "f32", [1, 1, 2, 4, 3])];
    const box = { from: [0, 0, 0, 0, 0], to: [0, 0, 0, 4, 0], size: [1, 1, 2, 1, 3] };
    expect(() => device.copy(rows, cache, [box])).toThrow("copy of f32[1,1,2,1,3] into f32[1,1,2,4,3]: {");
    expect(() => device.copy(v, rows, [{ from: [0], to: [0], size: [1] }])).toThrow("copy of f32[2]");
    expect(() => device.upload(ids, { keep: 1, seed: 1, labels: [] })).toThrow("upload of a dropout mask into i64[1]");
  });

  it("copies parts of a tensor: positions of single rows, in every layer and head", async () => {
    const cache = tensor(device, "f32", [2, 2, 2, 3, 1]);
    const made = reshaped(from(1, 2, 3, 4, 5, 6, 7, 8), [2, 1, 2, 2, 1]);
    device.copy(made, cache, [
      { from: [0, 0, 0, 0, 0], to: [0, 1, 0, 1, 0], size: [2, 1, 2, 2, 1] },
      { from: [0, 0, 0, 1, 0], to: [0, 0, 0, 0, 0], size: [2, 1, 2, 1, 1] },
    ]);
    const [a, b] = [
      [2, 0, 0, 4, 0, 0],
      [0, 1, 2, 0, 3, 4],
    ];
    const [c, d] = [
      [6, 0, 0, 8, 0, 0],
      [0, 5, 6, 0, 7, 8],
    ];
    expect(await read(cache)).toEqual([...a!, ...b!, ...c!, ...d!]);
  });

  it("fixed inputs stay with the program", async () => {
    const y = tensor(device, "f32", [1]);
    const program = device.compile(increment, "full", { x: from(4) });
    expect(program.inputs).toEqual([]);
    device.run(program, {}, { y });
    expect(await read(y)).toEqual([5]);
  });

  it("fixed weights of a product are fed to an engine that would copy them for every session", async () => {
    const f = define("product", (declare) => ({ y: matmul(declare("x", [1, 2]), declare("w", [2, 2])) }));
    const [x, w, y] = [reshaped(from(1, 2), [1, 2]), reshaped(from(1, 2, 3, 4), [2, 2]), tensor(device, "f32", [1, 2])];
    const program = device.compile(f, "full", { w });
    device.run(program, { x }, { y });
    expect(await read(y)).toEqual([7, 10]);
    device.upload(w, Float32Array.of(1, 0, 0, 1));
    device.run(program, { x }, { y });
    expect(await read(y)).toEqual([1, 2]);
  });

  it("a missing input or output is named at once", () => {
    const program = device.compile(increment);
    const v = tensor(device, "f32", [1]);
    expect(() => device.run(program, { z: v }, { y: v })).toThrow("increment: input 'x' is missing; given are z");
    expect(() => device.run(program, { x: v }, {})).toThrow("increment: output 'y' is missing");
  });

  it("a graph that is wrong is refused when compiled", () => {
    expect(() => device.compile({ ...increment, inputs: {} })).toThrow("'x' is used but not declared");
  });

  it("inputs that the graph does not read are left out and may be fed", async () => {
    const f = define("f", (d) => {
      d("unused", [9]);
      return { y: add(d("x", [1]), d("x", [1])) };
    });
    const program = device.compile(f);
    expect(program.inputs).toEqual(["x"]);
    const [x, y] = [from(3), tensor(device, "f32", [1])];
    device.run(program, { x, unused: x }, { y });
    expect(await read(y)).toEqual([6]);
  });

  it.each<[string, (program: ReturnType<Device["compile"]>, a: View) => void, RegExp]>([
    ["an input of another shape", (p, a) => device.run(p, { x: from(1, 2) }, { y: a }), /'increment' failed.*x/s],
    ["an output of another shape", (p, a) => device.run(p, { x: a }, { y: from(1, 2) }), /'increment' failed/],
    [
      "an input of another dtype",
      (p, a) => device.run(p, { x: view(from(1, 2).buffer, "i64", [1]) }, { y: a }),
      /'increment' failed/,
    ],
    [
      "a freed buffer",
      (p, a) => {
        device.free(a.buffer);
        device.run(p, { x: a }, { y: a });
      },
      /buffer \d+ was freed/,
    ],
    [
      "a released program",
      (p, a) => {
        device.release(p);
        device.run(p, { x: a }, { y: a });
      },
      /program \d+ was released/,
    ],
  ])("%s surfaces at the next flush, and the queue stops there", async (_, mistake, message) => {
    const program = device.compile(increment);
    const [a, kept] = [from(1), from(41)];
    await device.flush();
    mistake(program, a);
    device.copy(from(7), kept);
    await expect(device.flush()).rejects.toThrow(message);
    device.free(kept.buffer); // what cleans up afterwards does not throw again
    await expect(device.download(kept)).rejects.toThrow(message);
    await expect(device.memory()).rejects.toThrow(message);
  });

  it("an id outside the table is an error, not memory of somebody else", async () => {
    const f = define("lookup", (d) => ({ y: gather(d("table", [2, 1]), d("ids", [1], "i64")) }));
    const ids = tensor(device, "i64", [1]);
    device.upload(ids, BigInt64Array.of(5n));
    device.run(device.compile(f), { table: reshaped(from(1, 2), [2, 1]), ids }, { y: tensor(device, "f32", [1, 1]) });
    await expect(device.flush()).rejects.toThrow("'lookup' failed");
  });

  it("counts the bytes of its buffers; freed ones are gone", async () => {
    const v = tensor(device, "f32", [1000]);
    expect((await device.memory()).buffers).toBe(4000);
    device.free(v.buffer);
    const { buffers, resident, peak } = await device.memory();
    expect(buffers).toBe(0);
    expect(peak).toBeGreaterThanOrEqual(resident * 0.5);
  });

  it("out of memory is said in gigabytes", async () => {
    const large = device.allocate(2 ** 50);
    device.copy(view(large, "f32", [1]), view(large, "f32", [1], 4));
    await expect(device.flush()).rejects.toThrow(/cannot allocate 1125899\.91 GB/);
  });

  it("dropout masks: the same labels the same mask, others another, mean 1", async () => {
    const mask = async (...labels: (string | number)[]) => {
      const v = tensor(device, "f32", [100_001]);
      device.upload(v, { keep: 0.9, seed: 5, labels });
      return read(v);
    };
    const one = await mask("step", 1);
    expect(await mask("step", 1)).toEqual(one);
    expect(await mask("step", 2)).not.toEqual(one);
    const kept = one.filter((x) => x !== 0);
    expect(new Set(kept).size).toBe(1);
    expect(kept[0]).toBeCloseTo(1 / 0.9, 4);
    expect(one.reduce((s, x) => s + x, 0) / one.length).toBeCloseTo(1, 2);
    const whole = tensor(device, "f32", [3]);
    device.upload(whole, { keep: 1, seed: 5, labels: [] });
    expect(await read(whole)).toEqual([1, 1, 1]);
  });

  it("sessions that come and go: 500 compiled and released stay within a few megabytes", async () => {
    const f = scaleBy(2, 64);
    const round = async (count: number) => {
      for (let i = 0; i < count; i++) device.release(device.compile(f));
      return (await device.memory()).resident;
    };
    const before = await round(100);
    expect((await round(500)) - before).toBeLessThan(24e6);
  });

  it("memory grows with each session or adapter switch: 1,000 runs and switches stay flat, never another's output", async () => {
    const n = 256;
    const f = define("adapted", (d) => ({ y: matmul(d("x", [n, n]), d("adapter", [n, n])) }));
    const program = device.compile(f);
    const [x, y] = [tensor(device, "f32", [n, n]), tensor(device, "f32", [n, n])];
    device.upload(x, new Float32Array(n * n).fill(1));
    const adapters = [1, 2, 3].map((value) => {
      const v = tensor(device, "f32", [n, n]);
      device.upload(v, new Float32Array(n * n).fill(value));
      return v;
    });
    const corner = view(y.buffer, "f32", [1]);
    const round = async (runs: number) => {
      for (let i = 0; i < runs; i++) {
        device.run(program, { x, adapter: adapters[i % 3]! }, { y });
        if (i % 10 === 0) expect(await read(corner)).toEqual([n * ((i % 3) + 1)]);
      }
      return (await device.memory()).resident;
    };
    const before = await round(200);
    expect((await round(1000)) - before).toBeLessThan(32e6); // one y a run would be 262 MB
  });
});
