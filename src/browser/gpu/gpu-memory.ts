import type { Memory, Range } from "../../runtime/index.js";
import type { HostTensor } from "../../tensor/index.js";
import { type Gpu, USAGE } from "./gpu.js";

/** A tensor that lies in a GPU buffer from byte `offset` on. */
export interface GpuTensor extends Pick<HostTensor, "dtype" | "shape"> {
  readonly buffer: GPUBuffer;
  readonly offset: number;
}

/** What WebGPU copies is a whole number of such steps, from one of them on. */
const STEP = 4;

/** WebGPU's number of a mapping that is only read. */
const READ = 1;

const isAligned = ({ from, to, bytes }: Range): boolean => (from | to | bytes) % STEP === 0;

/** Memory of a GPU. Bytes cross only where they are uploaded and downloaded; copies stay on it. */
export function gpuMemory(gpu: Gpu): Memory<GPUBuffer, GpuTensor> {
  const { queue } = gpu.device;
  /** Bytes `at` to `at + bytes`, widened to whole steps, and what is wanted of them. */
  const around = async (buffer: GPUBuffer, at: number, bytes: number) => {
    const start = at - (at % STEP);
    const all = await readSteps(gpu, buffer, start, Math.max(STEP, Math.ceil((at + bytes - start) / STEP) * STEP));
    return { start, all, wanted: all.subarray(at - start, at - start + bytes) };
  };
  const read = async (buffer: GPUBuffer, at: number, bytes: number) => (await around(buffer, at, bytes)).wanted;
  const patch = async (buffer: GPUBuffer, at: number, bytes: number, fill: (into: Uint8Array) => void) => {
    const { start, all, wanted } = await around(buffer, at, bytes);
    fill(wanted);
    queue.writeBuffer(buffer, start, all);
  };
  const throughHost = async (from: GPUBuffer, to: GPUBuffer, ranges: readonly Range[]) => {
    for (const { from: start, to: at, bytes } of ranges) {
      const found = await read(from, start, bytes);
      await patch(to, at, bytes, (into) => into.set(found));
    }
  };
  return {
    allocate: (bytes) => gpu.create(bytes),
    free: (buffer) => gpu.destroy(buffer),
    read,
    write(buffer, at, bytes, fill) {
      gpu.check();
      if ((at | bytes) % STEP !== 0) return patch(buffer, at, bytes, fill);
      const near = new Uint8Array(bytes);
      fill(near);
      queue.writeBuffer(buffer, at, near);
    },
    copy(from, to, ranges) {
      gpu.check();
      if (!ranges.every(isAligned)) return throughHost(from, to, ranges);
      if (from !== to) gpu.copies((encoder) => copyRanges(encoder, from, to, ranges));
      else copyWithin(gpu, from, ranges);
    },
    tensor: (buffer, { dtype, shape, offset }) => ({ buffer, dtype, shape, offset }),
  };
}

async function readSteps(gpu: Gpu, buffer: GPUBuffer, start: number, size: number): Promise<Uint8Array<ArrayBuffer>> {
  const near = gpu.device.createBuffer({ size, usage: USAGE.MAP_READ | USAGE.COPY_DST });
  try {
    gpu.copies((encoder) => encoder.copyBufferToBuffer(buffer, start, near, 0, size));
    await gpu.finish(near.mapAsync(READ));
    return new Uint8Array(near.getMappedRange().slice(0));
  } finally {
    near.destroy();
  }
}

function copyRanges(encoder: GPUCommandEncoder, from: GPUBuffer, to: GPUBuffer, ranges: readonly Range[]): void {
  for (const { from: start, to: at, bytes } of ranges) encoder.copyBufferToBuffer(from, start, to, at, bytes);
}

/** WebGPU copies nothing from a buffer to itself: there and back by way of another. */
function copyWithin(gpu: Gpu, buffer: GPUBuffer, ranges: readonly Range[]): void {
  const via = gpu.borrow(ranges.reduce((sum, { bytes }) => sum + bytes, 0));
  let filled = 0;
  const halves = ranges.map(({ from, to, bytes }) => {
    const between = filled;
    filled += bytes;
    return [
      { from, to: between, bytes },
      { from: between, to, bytes },
    ] as const;
  });
  gpu.copies((encoder) => {
    copyRanges(encoder, buffer, via, halves.map(([there]) => there)); // biome-ignore format: one line a direction
    copyRanges(encoder, via, buffer, halves.map(([, back]) => back)); // biome-ignore format: one line a direction
  });
  gpu.giveBack(via);
}
