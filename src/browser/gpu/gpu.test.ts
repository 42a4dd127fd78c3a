import { afterEach, expect, it, vi } from "vitest";
import { hostMemory, type Range } from "../../runtime/index.js";
import { random } from "../../tensor/index.js";
import { Gpu } from "./gpu.js";
import { gpuMemory } from "./gpu-memory.js";

/** A GPU over plain memory, with WebGPU's rules of what may be copied. Node has none of its own. */
function fakeDevice(maxBufferSize = 2 ** 20) {
  const bytesOf = new Map<unknown, Uint8Array>();
  const heard: Record<string, (event: { error: unknown }) => void> = {};
  let lose: (info: { reason: string; message: string }) => void = () => {};
  const rule = (holds: boolean, what: string) => {
    if (!holds) throw new Error(`WebGPU refuses ${what}`);
  };
  const device = {
    limits: { maxBufferSize, maxStorageBufferBindingSize: maxBufferSize },
    lost: new Promise((resolve) => {
      lose = resolve;
    }),
    addEventListener: (name: string, listener: (typeof heard)[string]) => {
      heard[name] = listener;
    },
    createBuffer({ size }: { size: number }) {
      const bytes = new Uint8Array(size);
      const buffer = { size, destroy: () => {}, mapAsync: async () => {}, getMappedRange: () => bytes.buffer };
      bytesOf.set(buffer, bytes);
      return buffer;
    },
    createCommandEncoder() {
      const work: (() => void)[] = [];
      return {
        copyBufferToBuffer(from: unknown, start: number, to: unknown, at: number, count: number) {
          rule(from !== to, "a copy of a buffer to itself");
          rule((start | at | count) % 4 === 0, "bytes that are no whole words");
          rule(start + count <= bytesOf.get(from)!.length && at + count <= bytesOf.get(to)!.length, "what is outside");
          work.push(() => bytesOf.get(to)!.set(bytesOf.get(from)!.subarray(start, start + count), at));
        },
        finish: () => work,
      };
    },
    queue: {
      submit: (lists: (() => void)[][]) => {
        for (const work of lists.flat()) work();
      },
      writeBuffer(to: unknown, at: number, data: Uint8Array) {
        rule((at | data.byteLength) % 4 === 0, "bytes that are no whole words");
        bytesOf.get(to)!.set(data, at);
      },
    },
    destroy: () => {},
  };
  return {
    gpu: new Gpu(device as never),
    lose,
    fail: (error: unknown) => heard.uncapturederror!({ error }),
  };
}

afterEach(() => vi.unstubAllGlobals());

it("memory of a GPU holds what the host's does, whatever is written and copied, also of odd sizes and within a buffer", async () => {
  const [near, far] = [hostMemory(), gpuMemory(fakeDevice().gpu)];
  const rng = random(3, "gpu memory");
  const draw = (most: number) => (rng.int32() >>> 0) % most;
  const sizes = [64, 100, 37];
  const all = sizes.map((bytes) => ({ bytes, near: near.allocate(bytes), far: far.allocate(bytes) }));
  for (let turn = 0; turn < 60; turn++) {
    const step = turn % 3 === 0 ? 1 : 4; // words, and bytes now and then
    const [from, to] = [all[draw(3)]!, all[draw(3)]!];
    const half = (of: { bytes: number }) => Math.floor(of.bytes / 8) * 4;
    const bytes = step * (1 + draw(Math.floor(12 / step)));
    const start = step * draw(Math.floor((half(from) - bytes) / step) + 1);
    const at = half(to) + step * draw(Math.floor((to.bytes - half(to) - bytes) / step) + 1);
    const fill = (into: Uint8Array) => into.fill(turn + 1);
    near.write(from.near, start, bytes, fill);
    await far.write(from.far, start, bytes, fill);
    const ranges: Range[] = [{ from: start, to: at, bytes }];
    near.copy(from.near, to.near, ranges);
    await far.copy(from.far, to.far, ranges);
    for (const { bytes, near: mine, far: theirs } of all)
      expect(`${await far.read(theirs, 0, bytes)}`).toBe(`${near.read(mine, 0, bytes)}`);
  }
});

it("a lost GPU, a refused command and a tensor that is too large end what is waited for next, in words", async () => {
  const { gpu, lose } = fakeDevice();
  const memory = gpuMemory(gpu);
  const buffer = memory.allocate(16);
  const never = gpu.finish(new Promise(() => {}));
  lose({ reason: "unknown", message: "unplugged" });
  await expect(never).rejects.toThrow("device: the GPU was lost (unknown: unplugged)");
  await expect(memory.read(buffer, 0, 16)).rejects.toThrow("start it again with resume: true");
  expect(() => memory.write(buffer, 0, 16, () => {})).toThrow("the GPU was lost");

  class Full {}
  vi.stubGlobal("GPUOutOfMemoryError", Full);
  for (const [error, words] of [
    [{ message: "invalid buffer" }, "device: the GPU refused what it was asked: invalid buffer"],
    [new Full(), "device: the GPU has no memory for more than the 0.0 MB that the run holds; use a smaller batch_size"],
  ] as const) {
    const other = fakeDevice();
    const values = gpuMemory(other.gpu).read(gpuMemory(other.gpu).allocate(16), 0, 16);
    other.fail(error);
    await expect(values).rejects.toThrow(words);
  }

  expect(() => fakeDevice(1000).gpu.create(1001)).toThrow("a tensor of 0.0 MB fits no buffer of this GPU");
});
