import { merge as mergeAdapter } from "../recipes/merge.js";
import { snakeKeys } from "../recipes/names.js";
import { type Action, EXIT } from "./io.js";
import { engineOptions } from "./model-options.js";
import { inert } from "./preview-text.js";
import { withPlatform } from "./with-platform.js";

export const merge: Action = async (_args, options, io) => {
  const engine = { ...engineOptions(options), onNote: (message: string) => io.err(`lowrank: ${inert(message)}\n`) };
  return withPlatform(async (platform) => {
    const [base, adapter, output] = [options.base, options.adapter, options.output] as [string, string, string];
    const report = await mergeAdapter(base, adapter, output, platform, engine);
    if (options.json) io.out(`${JSON.stringify(snakeKeys(report))}\n`);
    else {
      const number = (x: number) => x.toPrecision(3);
      io.out(
        `${output}\nworst logit difference between base + adapter and merged: ${number(report.worstLogitDifference)} ` +
          `(largest logit ${number(report.largestLogit)}; the adapter changes logits by up to ${number(report.adapterEffect)})\n`,
      );
    }
    return EXIT.ok;
  });
};
