import { importAdapter } from "../recipes/import.js";
import type { Action } from "./io.js";
import { withReport } from "./with-platform.js";

export const importVerb: Action = async ([path], options, io) =>
  withReport(options, io, async (platform) => {
    const request = { adapter: path!, base: options.base as string, output: options.output as string };
    const report = await importAdapter(request, platform);
    const { output, from, r, scale, targetModules } = report;
    const kind = from === "mlx" ? "mlx-lm" : "llama.cpp";
    return { report, text: `${output}: from ${kind}, rank ${r}, scale ${scale}, on ${targetModules.join(", ")}\n` };
  });
