import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { startEngine } from "./engine.js";
import { findOpenvino } from "./openvino-library.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "lowrank-openvino-"));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

const make = (...path: string[]): string => {
  const file = join(folder, ...path);
  mkdirSync(join(file, ".."), { recursive: true });
  writeFileSync(file, "");
  return file;
};

describe("where OpenVINO's library is looked for", () => {
  it("OPENVINO_LIB is the file, or the folder that holds it, and nothing else is tried", () => {
    const file = make("libs", "libopenvino_c.so.2641");
    make("libs", "libopenvino.so.2641");
    expect(findOpenvino({ OPENVINO_LIB: file })).toBe(file);
    expect(findOpenvino({ OPENVINO_LIB: join(folder, "libs") })).toBe(file);
    const venv = make("venv", "lib", "python3.12", "site-packages", "openvino", "libs", "libopenvino_c.so");
    expect(findOpenvino({ OPENVINO_LIB: join(folder, "none"), VIRTUAL_ENV: join(folder, "venv") })).toBeUndefined();
    expect(findOpenvino({ VIRTUAL_ENV: join(folder, "venv") })).toBe(venv);
  });

  it("conda's library folder", () => {
    const file = make("lib", "libopenvino_c.dylib");
    expect(findOpenvino({ CONDA_PREFIX: folder })).toBe(file);
  });
});

describe("precision: bf16", () => {
  it("without OpenVINO says what is missing and how to get it", async () => {
    vi.stubEnv("OPENVINO_LIB", folder);
    await expect(startEngine({ precision: "bf16" })).rejects.toThrow(
      /needs OpenVINO.*pip install openvino.*OPENVINO_LIB/,
    );
  });

  it("on another device than the CPU is refused", async () => {
    await expect(startEngine({ precision: "bf16", provider: "webgpu" })).rejects.toThrow(
      "runs on the CPU, not on 'webgpu'",
    );
  });
});
