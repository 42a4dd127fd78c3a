import { z } from "zod";
import { metricsRow } from "../../training/metrics.js";
import { call } from "../route.js";
import { describeRun, metricsIn, requireRun, samplesIn } from "../runs.js";

export const run = call({
  summary:
    "one run: what is known of it, its metrics after the first `after` rows, what it said, and answers at evaluations",
  request: z.strictObject({
    folder: z.string("expected a run's folder").min(1),
    after: z.int("expected a whole number").min(0).default(0),
  }),
  async answer(studio, { folder, after }) {
    await requireRun(studio, folder);
    const { files } = studio.platform;
    const job = studio.jobs.get(folder);
    const metrics = await metricsIn(files, folder);
    return {
      run: await describeRun(studio, folder),
      rows: metrics.length,
      metrics: metrics.slice(after).map(metricsRow),
      messages: job?.notes ?? [],
      loading: job?.loading ?? null,
      samples: await samplesIn(files, folder),
    };
  },
});
