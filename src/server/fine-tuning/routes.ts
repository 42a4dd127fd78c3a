import type { Context } from "hono";
import type { Platform } from "../../platform/platform.js";
import { readChunks } from "../../platform/platform.js";
import { UserError } from "../../tensor/index.js";
import type { ServerLimits } from "../limits.js";
import { readJson } from "../read-json.js";
import type { FineTuning } from "./index.js";
import { readJobRequest } from "./request.js";
import { type JobObject, page } from "./wire.js";

type Handle = (c: Context) => Response | Promise<Response>;

/** /v1/files and /v1/fine_tuning/jobs as OpenAI's API reference has them. */
export function fineTuningEndpoints(
  tuning: FineTuning,
  limits: ServerLimits,
  platform: Platform,
): Readonly<Record<string, Handle>> {
  const handles = Object.entries(handlers(tuning, limits, platform));
  return Object.fromEntries(handles.map(([name, handle]) => [name, (c: Context) => ownFault(() => handle(c))]));
}

/** What a client gets wrong is an ApiError here; what the disk says is the operator's to mend and to read. */
async function ownFault(handle: () => Response | Promise<Response>): Promise<Response> {
  try {
    return await handle();
  } catch (error) {
    throw error instanceof UserError ? new Error(error.message, { cause: error }) : error;
  }
}

function handlers(
  { files, jobs, create, cancel, removeFile }: FineTuning,
  limits: ServerLimits,
  platform: Platform,
): Readonly<Record<string, Handle>> {
  const id = (c: Context) => c.req.param("id")!;
  return {
    "POST /v1/files": async (c) => c.json(await files.upload(c.req.raw, limits)),
    "GET /v1/files": (c) => {
      const { purpose } = c.req.query();
      const list = files.list().filter((file) => purpose === undefined || file.purpose === purpose);
      return c.json(page(list, c.req.query(), { limit: 10_000, most: 10_000 }));
    },
    "GET /v1/files/:id": (c) => c.json(files.get(id(c)).object),
    "GET /v1/files/:id/content": (c) => {
      const { filename, bytes } = files.get(id(c)).object;
      return c.body(streamOf(readChunks(platform.files, files.path(id(c)))), 200, {
        "content-type": "application/octet-stream",
        "content-length": String(bytes),
        "content-disposition": `attachment; filename*=UTF-8''${encodeURIComponent(filename)}`,
      });
    },
    "DELETE /v1/files/:id": async (c) => {
      await removeFile(id(c));
      return c.json({ id: id(c), object: "file", deleted: true });
    },
    "POST /v1/fine_tuning/jobs": async (c) => c.json(await create(readJobRequest(await readJson(c.req.raw, limits)))),
    "GET /v1/fine_tuning/jobs": (c) => {
      const query = c.req.query();
      const list = jobs.list().map(({ object }) => object);
      return c.json(page(list.filter(labelled(query)), query, { limit: 20, most: 100 }));
    },
    "GET /v1/fine_tuning/jobs/:id": (c) => c.json(jobs.get(id(c)).object),
    "POST /v1/fine_tuning/jobs/:id/cancel": async (c) => c.json(await cancel(id(c))),
    "GET /v1/fine_tuning/jobs/:id/events": async (c) =>
      c.json(page(await jobs.events(id(c)), c.req.query(), { limit: 20, most: 100 })),
    "GET /v1/fine_tuning/jobs/:id/checkpoints": (c) =>
      c.json(page([...jobs.get(id(c)).checkpoints].reverse(), c.req.query(), { limit: 10, most: 100 })),
  };
}

/** `metadata[key]=value`: jobs that carry it. */
function labelled(query: Readonly<Record<string, string>>): (job: JobObject) => boolean {
  const wanted = Object.entries(query).flatMap(([name, value]) => {
    const [, key] = /^metadata\[(.+)\]$/.exec(name) ?? [];
    return key === undefined ? [] : [[key, value] as const];
  });
  return ({ metadata }) => wanted.every(([key, value]) => metadata !== null && metadata[key] === value);
}

/** Opens nothing before it is read from, and closes it when nobody reads on. */
function streamOf(chunks: AsyncGenerator<Uint8Array>): ReadableStream<Uint8Array> {
  return new ReadableStream(
    {
      async pull(controller) {
        const { done, value } = await chunks.next();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      async cancel() {
        await chunks.return(undefined);
      },
    },
    { highWaterMark: 0 },
  );
}
