// A program of its own: a provider whose libraries are broken may end the process, and prints what it likes to stderr.
import "./no-telemetry.js";
import { define, neg } from "../graph/index.js";
import { toOnnx } from "../onnx/index.js";
import { importOrt } from "./ort-package.js";

const { InferenceSession, listSupportedBackends } = await importOrt();

const model = toOnnx(
  define("probe", (declare) => ({ y: neg(declare("x", [1])) })),
  "cpu",
);
for (const { name } of listSupportedBackends()) {
  try {
    const session = await InferenceSession.create(model, { executionProviders: [name], logSeverityLevel: 4 });
    await session.release();
    process.stdout.write(`${name}\n`);
  } catch {
    // Compiled in, but not for this machine: no such device, or its libraries are missing.
  }
}
