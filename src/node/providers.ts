import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { workerFile } from "./package.js";

const PATIENCE_MS = 30_000;

/** The engine's providers that a session really starts on here, by ONNX Runtime's names ("cpu", "webgpu", "cuda", ...). */
export function loadableProviders(): Promise<string[]> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [fileURLToPath(workerFile("provider-probe.js"))],
      { timeout: PATIENCE_MS },
      (_error, stdout) => {
        resolve(stdout.split("\n").filter(Boolean));
      },
    );
  });
}
