import { z } from "zod";
import { join } from "../../formats/files.js";
import { UserError } from "../../tensor/index.js";
import { call } from "../route.js";
import { configIn, freePath, requireRun } from "../runs.js";
import { configOf, settingsSchema } from "../settings.js";

export const start = call({
  summary: "begins a run in a new folder; the reply comes when its rows were read",
  request: z.strictObject({
    settings: settingsSchema,
    name: z
      .string("expected a text")
      .regex(/^[\w][\w.-]{0,80}$/, "expected letters, digits, '_', '.' and '-'")
      .default("lora"),
  }),
  async answer({ platform, host, jobs }, { settings, name }) {
    const outputDir = await freePath(platform.files, join(host.folder, name));
    const config = configOf({ ...settings, output_dir: outputDir }, host.home);
    return { folder: (await jobs.start(config, { resume: false })).folder };
  },
});

export const resume = call({
  summary: "goes on with a run from its newest checkpoint, with the config that it was begun with",
  request: z.strictObject({ folder: z.string("expected a run's folder").min(1) }),
  async answer(studio, { folder }) {
    await requireRun(studio, folder);
    const config = await configIn(studio.platform.files, folder);
    if (!config) throw new UserError(`${folder}: its config cannot be read, so it cannot go on`, { code: "not_found" });
    await studio.jobs.start({ ...config, outputDir: folder }, { resume: true });
    return { folder };
  },
});

export const stop = call({
  summary: "ends a run that this studio trains after its step, with a checkpoint",
  request: z.strictObject({ folder: z.string("expected a run's folder").min(1) }),
  async answer({ jobs }, { folder }) {
    await jobs.stop(folder);
    return { folder };
  },
});
