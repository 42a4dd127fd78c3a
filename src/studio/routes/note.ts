import { z } from "zod";
import { join } from "../../formats/files.js";
import { call } from "../route.js";
import { deleteRun, NOTES, requireRun } from "../runs.js";

export const note = call({
  summary: "keeps what somebody writes down about a run, as notes.txt in its folder",
  request: z.strictObject({
    folder: z.string("expected a run's folder").min(1),
    text: z.string("expected a text").max(100_000),
  }),
  async answer(studio, { folder, text }) {
    await requireRun(studio, folder);
    await studio.platform.files.write(join(folder, NOTES), text);
    return { folder };
  },
});

export const remove = call({
  summary: "deletes a run that is not being trained, with everything in its folder",
  request: z.strictObject({ folder: z.string("expected a run's folder").min(1) }),
  async answer(studio, { folder }) {
    await deleteRun(studio, folder);
    return { folder };
  },
});
