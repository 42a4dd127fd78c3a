import { z } from "zod";
import { plan } from "../../recipes/plan.js";
import { UserError } from "../../tensor/index.js";
import { BASE_PRECISIONS } from "../../weights/base-precision.js";
import { call } from "../route.js";
import { configOf, settingsSchema } from "../settings.js";

/** Share of the memory up to which a run leaves room for everything else. */
const COMFORTABLE = 0.8;

export const fits = call({
  summary: "the memory of a run at each base_precision, the recommended one first: the most exact that fits with room",
  request: z.strictObject({ settings: settingsSchema }),
  async answer({ platform, host, readings }, { settings }) {
    const asked = configOf(settings, host.home);
    const { rows } = await readings.read(asked); // how the base is held changes none of them
    const found = [];
    for (const precision of BASE_PRECISIONS) {
      const config = { ...asked, basePrecision: precision };
      try {
        const { peakBytes, limitBytes, fits } = await plan(config, platform, { timed: false }, rows);
        found.push({ precision, peak_bytes: peakBytes, limit_bytes: limitBytes, fits, problem: null });
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
        found.push({ precision, peak_bytes: null, limit_bytes: null, fits: false, problem: error.message });
      }
    }
    const fitting = found.filter((one) => one.fits);
    const best = fitting.find((one) => one.peak_bytes! <= COMFORTABLE * one.limit_bytes!) ?? fitting[0];
    const all = found.map((one) => ({ ...one, recommended: one === best }));
    return { precisions: [...all.filter((one) => one.recommended), ...all.filter((one) => !one.recommended)] };
  },
});
