import { z } from "zod";
import { call } from "../route.js";
import { describeRun, findRuns } from "../runs.js";

export const runs = call({
  summary: "every run in the studio's folder, the newest first, whoever began it",
  request: z.strictObject({}),
  async answer(studio) {
    const { platform, host, jobs } = studio;
    const folders = new Set([
      ...jobs.list().map((job) => job.folder),
      ...(await findRuns(platform.files, host.folder)),
    ]);
    const found = await Promise.all([...folders].map((folder) => describeRun(studio, folder)));
    return { runs: found.sort((a, b) => (b.updated ?? Infinity) - (a.updated ?? Infinity)) };
  },
});
