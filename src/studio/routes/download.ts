import { z } from "zod";
import { UserError } from "../../tensor/index.js";
import { stream } from "../route.js";
import { told } from "../told.js";

type DownloadEvent =
  | { readonly type: "progress"; readonly done: number; readonly total: number }
  | { readonly type: "end"; readonly name: string };

export const download = stream({
  summary:
    "downloads `owner/name` from the hub, or in a page a GGUF file by its address, with progress; what came stays when it is stopped, and is gone on from",
  request: z.strictObject({ name: z.string("expected owner/name, or an address").min(1) }),
  async *events({ host }, { name }, signal): AsyncGenerator<DownloadEvent, void> {
    const { download } = host;
    if (!download) throw new UserError(host.lacks?.download ?? "nothing can be downloaded from here");
    const found = yield* told<DownloadEvent, string>((tell) =>
      download(name, { signal, onProgress: (done, total) => tell({ type: "progress", done, total }) }),
    );
    yield { type: "end", name: found };
  },
});
