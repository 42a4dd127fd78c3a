import { stoppableFiles } from "../formats/stoppable-files.js";
import { nodePlatform } from "../node/platform.js";
import { interruptible } from "../node/signals.js";
import type { Platform } from "../platform/platform.js";
import { snakeKeys } from "../recipes/names.js";
import { inFlags } from "./in-flags.js";
import { EXIT, type Io, type Options } from "./io.js";
import { inert } from "./preview-text.js";

/** Runs a verb that writes whole or not at all: Ctrl-C and SIGTERM stop it, and what it had begun is removed. */
async function withPlatform<T>(use: (platform: Platform) => Promise<T>): Promise<T> {
  const { signal, stop } = interruptible(() => undefined);
  const platform = nodePlatform();
  try {
    return await use({ ...platform, files: stoppableFiles(platform.files, signal) });
  } finally {
    stop();
    await platform.dispose();
  }
}

/** Runs a verb that gives a report, prints its warnings and the report as JSON or text. */
export async function withReport(
  options: Options,
  io: Io,
  run: (platform: Platform) => Promise<{ report: { readonly warnings: readonly string[] }; text: string }>,
): Promise<number> {
  return withPlatform(async (platform) => {
    const { report, text } = await run(platform);
    for (const warning of report.warnings) io.err(`lowrank: ${inert(warning)}\n`);
    io.out(options.json ? `${inFlags(JSON.stringify(snakeKeys(report)))}\n` : text);
    return EXIT.ok;
  });
}
