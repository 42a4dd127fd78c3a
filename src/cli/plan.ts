import { nodePlatform } from "../node/platform.js";
import { snakeKeys } from "../recipes/names.js";
import { plan as planRun } from "../recipes/plan.js";
import { allOverrides, loadConfig } from "./configs.js";
import { type Action, EXIT } from "./io.js";
import { sizeText, timeText } from "./progress.js";

export const plan: Action = async (overrides, options, io) => {
  const config = await loadConfig(options.config as string | undefined, allOverrides(options, overrides));
  const platform = nodePlatform();
  try {
    const found = await planRun(config, platform);
    if (options.json) io.out(`${JSON.stringify(snakeKeys(found))}\n`);
    else {
      const count = (n: number) => Math.round(n).toLocaleString("en-US");
      const kinds = Object.entries(found.memory).map(([kind, bytes]) => `  ${kind.padEnd(12)} ${sizeText(bytes)}`);
      const time = found.secondsPerStep;
      const lines = [
        `trains ${count(found.trainableParameters)} of ${count(found.totalParameters)} parameters`,
        ...found.trainedWhole,
        `${found.steps} steps of about ${count(found.tokensPerStep)} tokens; largest micro-batch ${count(found.largestMicroBatch)} tokens`,
        `memory ${sizeText(found.peakBytes)} at the peak, ${sizeText(found.limitBytes)} are there:`,
        ...kinds,
        ...(found.baseCacheBytes === undefined
          ? []
          : [`base_cache takes ${sizeText(found.baseCacheBytes)} on the disk`]),
        time === undefined
          ? "this run does not fit: checkpointing: true, base_precision: nf4, a smaller batch_size or data.max_seq_len make it smaller"
          : `about ${time.toFixed(2)} s a step, ${timeText(found.secondsInAll!)} in all (timed on short models of this shape)`,
      ];
      io.out(`${lines.join("\n")}\n`);
    }
    return found.fits ? EXIT.ok : EXIT.failed;
  } finally {
    await platform.dispose();
  }
};
