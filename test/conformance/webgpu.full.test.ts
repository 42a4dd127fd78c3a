import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { describe } from "vitest";
import { define, neg } from "../../src/graph/index.js";
import { toOnnx } from "../../src/onnx/index.js";
import { conformance } from "./suite.js";

/** SwiftShader, a Vulkan driver in software: it comes with Debian's chromium. */
const SOFTWARE_DRIVER = "/usr/lib/chromium/vk_swiftshader_icd.json";

/** Must be set before the native engine loads; a driver that the environment names already is left as it is. */
if (existsSync(SOFTWARE_DRIVER)) {
  process.env.VK_ICD_FILENAMES ??= SOFTWARE_DRIVER;
  process.env.VK_DRIVER_FILES ??= SOFTWARE_DRIVER;
}

/** Why WebGPU cannot run here, or undefined; asked in a process of its own, for a driver may crash. */
function whyNot(): string | undefined {
  const f = define("probe", (declare) => ({ y: neg(declare("x", [1])) }));
  const model = Buffer.from(toOnnx(f, "webgpu")).toString("base64");
  const script = `require("onnxruntime-node").InferenceSession.create(Buffer.from("${model}", "base64"), { executionProviders: ["webgpu"] })`;
  const { status, stderr } = spawnSync(process.execPath, ["-e", script], { timeout: 20_000, encoding: "utf8" });
  return status === 0
    ? undefined
    : (stderr.split("\n").find((line) => line.includes("Error")) ?? `exit code ${status}`);
}

const reason = whyNot();
if (reason)
  console.log(
    `WebGPU conformance is skipped, no adapter: ${reason.trim()} (Debian: apt-get install chromium libvulkan1)`,
  );
describe.skipIf(reason)("webgpu", () => conformance("webgpu", { without: ["to f16 and back"] }));
