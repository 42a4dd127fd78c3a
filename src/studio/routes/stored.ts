import { z } from "zod";
import { call } from "../route.js";
import { deleteStored, storedFiles } from "../stored.js";

export const stored = call({
  summary:
    "what is kept beside the runs: dropped rows, exports, downloaded models, each with its bytes and the runs that need it",
  request: z.strictObject({}),
  async answer(studio) {
    const room = (await studio.host.storage?.room()) ?? { used: null, quota: null };
    return { files: await storedFiles(studio), used_bytes: room.used, quota_bytes: room.quota };
  },
});

export const discard = call({
  summary: "deletes one of those, where no run, answer, server or download uses it",
  request: z.strictObject({ path: z.string("expected a path that `stored` tells of").min(1) }),
  async answer(studio, { path }) {
    await deleteStored(studio, path);
    return { path };
  },
});
