import { UserError } from "../../tensor/index.js";

/** WebGPU's numbers of what a buffer is for. */
export const USAGE = { MAP_READ: 1, COPY_SRC: 4, COPY_DST: 8, STORAGE: 128 } as const;

/** Buffers are whole numbers of such steps: ONNX Runtime binds them so. */
const STEP = 16;

/** What the device is asked for of what its adapter has: as much as there is, so that large tables fit one buffer. */
const LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
  "maxComputeWorkgroupSizeZ",
] as const;

/**
 * A WebGPU device, the buffers that are held on it, and what went wrong on it. WebGPU tells of faults later and elsewhere; here they
 * fail what is waited for next, so that nothing that was computed after one is ever read.
 */
export class Gpu {
  readonly device: GPUDevice;
  /** Bytes of buffers now, and their highest so far. */
  readonly held = { bytes: 0, peak: 0 };
  private readonly lost: Promise<never>;
  private readonly spare = new Map<number, GPUBuffer[]>();
  private fault: Error | undefined;

  constructor(device: GPUDevice) {
    this.device = device;
    device.addEventListener("uncapturederror", ({ error }) => {
      this.fault ??= new UserError(faultOf(error, this.held.bytes));
    });
    this.lost = device.lost.then(({ reason, message }) => {
      this.fault ??= new UserError(
        `device: the GPU was lost (${[reason, message].filter(Boolean).join(": ")}) and the run ended there; the checkpoints that ` +
          "it saved are whole: start it again with resume: true",
        { code: "device_unavailable" },
      );
      throw this.fault;
    });
    this.lost.catch(() => {}); // whoever waits is told
  }

  /** Throws what went wrong so far. */
  check(): void {
    if (this.fault) throw this.fault;
  }

  /** Waits for work on the GPU. Throws UserError when the device is lost meanwhile, or was before, or something did not fit it. */
  async finish<V>(work: Promise<V>): Promise<V> {
    this.check();
    const value = await Promise.race([work, this.lost]);
    this.check();
    return value;
  }

  /** A zero-filled buffer. Throws UserError when the GPU takes none so large. */
  create(bytes: number): GPUBuffer {
    const size = Math.max(STEP, Math.ceil(bytes / STEP) * STEP);
    const { maxBufferSize, maxStorageBufferBindingSize } = this.device.limits;
    const most = Math.min(maxBufferSize, maxStorageBufferBindingSize);
    if (size > most)
      throw new UserError(
        `device: a tensor of ${megabytes(size)} fits no buffer of this GPU, which takes ${megabytes(most)} at most; use device: cpu`,
        { code: "insufficient_memory" },
      );
    this.held.bytes += size;
    this.held.peak = Math.max(this.held.peak, this.held.bytes);
    const { STORAGE, COPY_SRC, COPY_DST } = USAGE;
    return this.device.createBuffer({ size, usage: STORAGE | COPY_SRC | COPY_DST });
  }

  /** What was queued before still finds it. */
  destroy(buffer: GPUBuffer): void {
    this.held.bytes -= buffer.size;
    buffer.destroy();
  }

  /** A buffer for a moment, with whatever was in it. */
  borrow(bytes: number): GPUBuffer {
    const size = Math.max(STEP, Math.ceil(bytes / STEP) * STEP);
    return this.spare.get(size)?.pop() ?? this.create(size);
  }

  giveBack(buffer: GPUBuffer): void {
    const known = this.spare.get(buffer.size);
    if (known) known.push(buffer);
    else this.spare.set(buffer.size, [buffer]);
  }

  /** Queues copies that `record` says. */
  copies(record: (encoder: GPUCommandEncoder) => void): void {
    const encoder = this.device.createCommandEncoder();
    record(encoder);
    this.device.queue.submit([encoder.finish()]);
  }

  dispose(): void {
    this.device.destroy();
  }
}

/** Asks the browser for a GPU. Throws UserError where it has none. */
export async function openGpu(): Promise<Gpu> {
  const { gpu } = navigator as { gpu?: GPU };
  const adapter = await gpu?.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter)
    throw new UserError(
      `device: 'webgpu' cannot be had here: ${gpu ? "the browser finds no GPU that it uses" : "this browser has no WebGPU, or the page is neither https nor localhost"}; ` +
        "use device: cpu, which is WebAssembly",
      { code: "device_unavailable" },
    );
  const requiredLimits = Object.fromEntries(LIMITS.map((name) => [name, adapter.limits[name]]));
  const requiredFeatures = (["shader-f16"] as const).filter((name) => adapter.features.has(name));
  return new Gpu(await adapter.requestDevice({ requiredLimits, requiredFeatures }));
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

function faultOf(error: GPUError, held: number): string {
  if (error instanceof GPUOutOfMemoryError)
    return `device: the GPU has no memory for more than the ${megabytes(held)} that the run holds; use a smaller batch_size or max_seq_len, or device: cpu`;
  return `device: the GPU refused what it was asked: ${error.message}`;
}
