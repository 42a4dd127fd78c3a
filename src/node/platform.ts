import { appendFile } from "node:fs/promises";
import type { Platform } from "../platform/platform.js";
import { UserError } from "../tensor/index.js";
import { nodeFiles, ownFiles } from "./files.js";
import { lockFolder } from "./lock.js";
import { memoryLimit } from "./memory-limit.js";
import { ortFolder } from "./ort-package.js";
import { PACKAGE, versionIn } from "./package.js";
import { resolveData, resolveModel, resolvePath } from "./paths.js";
import { createTemplateRunner } from "./template-runner.js";

/**
 * Node on this machine: the local disk, ONNX Runtime in a worker thread, templates in another. What only some verbs need is
 * loaded when it is first used.
 */
export function nodePlatform(): Platform {
  const templates = createTemplateRunner();
  return {
    files: nodeFiles,
    ownFiles,
    append: async (path, content) => {
      try {
        await appendFile(path, content);
      } catch (error) {
        throw new UserError(`${path}: ${(error as Error).message}`, { cause: error });
      }
    },
    lock: lockFolder,
    openOnnx: async (path) => (await import("./onnx-file.js")).openOnnx(path),
    startDevice: async ({ device, threads, precision }) => {
      const { resolveProvider, startEngine } = await import("./engine.js");
      return startEngine({ provider: await resolveProvider(device), threads, precision });
    },
    templates,
    resolveModel,
    resolvePath,
    resolveData,
    variable: (name) => process.env[name],
    fetch: async (url, init) => (await (await import("./hub/proxy.js")).proxiedFetch())(url, init),
    now: () => Date.now(),
    memory,
    get versions() {
      return { lowrank: versionIn(PACKAGE), node: process.versions.node, onnxruntime: engineVersion() };
    },
    dispose: () => templates.dispose(),
  };
}

/** The process's peak so far, and what there is: the container's limit or the machine's memory. */
function memory(): { peak: number; limit: number } {
  return { peak: process.resourceUsage().maxRSS * 1024, limit: memoryLimit() };
}

function engineVersion(): string {
  const folder = ortFolder();
  return folder ? versionIn(folder) : "unknown";
}
