import { z } from "zod";
import { plan as planRun } from "../../recipes/plan.js";
import { call } from "../route.js";
import { configOf, settingsSchema } from "../settings.js";

export const plan = call({
  summary: "what a run will take: parameters, memory by kind, steps, and time from a short calibration",
  request: z.strictObject({ settings: settingsSchema }),
  async answer({ platform, host, readings }, { settings }) {
    const config = configOf(settings, host.home);
    const { rows } = await readings.read(config);
    const found = await planRun(config, platform, {}, rows);
    return {
      trainable_parameters: found.trainableParameters,
      total_parameters: found.totalParameters,
      trained_whole: found.trainedWhole,
      steps: found.steps,
      tokens_per_step: found.tokensPerStep,
      memory: found.memory,
      peak_bytes: found.peakBytes,
      limit_bytes: found.limitBytes,
      fits: found.fits,
      seconds_per_step: found.secondsPerStep ?? null,
      seconds_in_all: found.secondsInAll ?? null,
    };
  },
});
