import { existsSync } from "node:fs";
import { statfs } from "node:fs/promises";
import os from "node:os";
import { hubCache, offlineBy, ownModels } from "../node/hub/settings.js";
import { memoryLimit } from "../node/memory-limit.js";
import { launchedBy } from "../node/mpi/launcher.js";
import { loadMpi } from "../node/mpi/library.js";
import { findOpenvino } from "../node/openvino-library.js";
import { libraryFault } from "../node/ort-library.js";
import { importOrt, ortFolder } from "../node/ort-package.js";
import { loadableProviders } from "../node/providers.js";
import { type Action, EXIT } from "./io.js";
import { sizeText } from "./progress.js";

/** One line of the report. `ok` is false for what keeps lowrank from working, "note" for what it can do without. */
interface Finding {
  readonly name: string;
  readonly ok: boolean | "note";
  readonly detail: string;
}

export const doctor: Action = async (_args, options, io) => {
  const findings = [
    node(),
    cores(),
    memory(),
    await engine(),
    library(),
    openvino(),
    mpi(),
    await disk(process.cwd()),
    cache(),
  ];
  const healthy = findings.every(({ ok }) => ok !== false);
  if (options.json) io.out(`${JSON.stringify({ healthy, findings })}\n`);
  else {
    const mark = (ok: Finding["ok"]) => (ok === "note" ? " - " : ok ? " ok" : "BAD");
    io.out(findings.map(({ name, ok, detail }) => `${mark(ok)}  ${name.padEnd(14)}${detail}\n`).join(""));
  }
  return healthy ? EXIT.ok : EXIT.failed;
};

function node(): Finding {
  const [major, minor] = process.versions.node.split(".").map(Number) as [number, number];
  const ok = major > 20 || (major === 20 && minor >= 19);
  const detail = `${process.versions.node} on ${process.platform} ${process.arch}`;
  return { name: "Node", ok, detail: ok ? detail : `${detail}; 20.19 or newer is needed` };
}

function cores(): Finding {
  const model = os.cpus()[0]?.model.trim() ?? "unknown";
  return { name: "cores", ok: true, detail: `${os.availableParallelism()} usable (${model})` };
}

function memory(): Finding {
  const total = memoryLimit();
  const free = Math.min(process.availableMemory?.() ?? os.freemem(), total);
  const ok = total >= 2e9 ? true : "note";
  return { name: "memory", ok, detail: `${sizeText(free)} free of ${sizeText(total)}` };
}

/** Loads ONNX Runtime for real, and starts a session on each provider: a missing native library shows only then. */
async function engine(): Promise<Finding> {
  try {
    await import("../node/no-telemetry.js");
    if (!ortFolder()) {
      const detail = "onnxruntime-node was left out when this package was installed; the first run fetches it with npm";
      return { name: "onnxruntime", ok: "note", detail };
    }
    const { env, listSupportedBackends } = await importOrt();
    const [known, loadable] = [listSupportedBackends().map(({ name }) => name), await loadableProviders()];
    const missing = known.filter((name) => !loadable.includes(name));
    const detail = `${env.versions.node ?? "?"}; providers: ${loadable.join(", ")}${missing.length > 0 ? `; not on this machine: ${missing.join(", ")}` : ""}`;
    return { name: "onnxruntime", ok: loadable.includes("cpu"), detail };
  } catch (error) {
    return { name: "onnxruntime", ok: false, detail: `cannot be loaded: ${(error as Error).message}` };
  }
}

/** Optional: the CPU engine's faster way in. 418 tokens/s through the C library, 210 through the binding (bench/results/steps-fp32.md). */
function library(): Finding {
  const fault = libraryFault();
  const detail = fault
    ? `not used: ${fault}; the CPU engine runs through onnxruntime-node's binding, and training takes about twice as long`
    : "used: the CPU engine calls ONNX Runtime's C library through koffi";
  return { name: "C library", ok: fault ? "note" : true, detail };
}

/** Optional: for precision: bf16. */
function openvino(): Finding {
  const found = findOpenvino();
  const detail = found ?? "not found; precision: bf16 needs it (pip install openvino, or OPENVINO_LIB=path)";
  return { name: "openvino", ok: found ? true : "note", detail };
}

/** Optional: for a run over several processes. */
function mpi(): Finding {
  try {
    return { name: "MPI", ok: true, detail: loadMpi(launchedBy()?.kinds).version };
  } catch (error) {
    return { name: "MPI", ok: "note", detail: `${(error as Error).message}; only runs over several processes need it` };
  }
}

async function disk(folder: string): Promise<Finding> {
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  return { name: "disk", ok: free > 1e9 ? true : "note", detail: `${sizeText(free)} free in ${folder}` };
}

function cache(): Finding {
  const folder = ownModels() ?? hubCache();
  const offline = offlineBy();
  const state = [existsSync(folder) ? "" : "empty", offline ? `${offline} is set` : ""].filter(Boolean).join("; ");
  return { name: "model cache", ok: true, detail: state ? `${folder} (${state})` : folder };
}
