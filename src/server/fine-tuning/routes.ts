import type { Context } from "hono";
import { readChunks } from "../../platform/platform.js";
import { UserError } from "../../tensor/index.js";
import { readJson } from "../read-json.js";
import type { Core, Handler, Route, Routes } from "../route.js";
import type { FineTuning } from "./index.js";
import { jobBody, readJobRequest } from "./request.js";
import { type JobObject, page } from "./wire.js";

/** /v1/files and /v1/fine_tuning/jobs as OpenAI's API reference has them. */
export function fineTuningRoutes(core: Core, tuning: FineTuning): Routes {
  const routes = { ...fileRoutes(core, tuning), ...jobRoutes(core, tuning) };
  const guarded = ([name, route]: [string, Route]) => [name, { ...route, handle: ownFault(route.handle) }];
  return Object.fromEntries(Object.entries(routes).map(guarded));
}

/** What a client gets wrong is an ApiError here; what the disk says is the operator's to mend and to read. */
function ownFault(handle: Handler): Handler {
  return async (c) => {
    try {
      return await handle(c);
    } catch (error) {
      throw error instanceof UserError ? new Error(error.message, { cause: error }) : error;
    }
  };
}

const id = (c: Context) => c.req.param("id")!;

function fileRoutes({ service }: Core, { files, removeFile }: FineTuning): Routes {
  const { limits, registry } = service;
  const { platform } = registry.model;
  return {
    "POST /v1/files": {
      summary: "Takes a file of training rows, or of a batch's requests, as a form with file and purpose",
      handle: async (c) => c.json(await files.upload(c.req.raw, limits)),
    },
    "GET /v1/files": {
      summary: "Lists files",
      handle: (c) => {
        const { purpose } = c.req.query();
        const list = files.list().filter((file) => purpose === undefined || file.purpose === purpose);
        return c.json(page(list, c.req.query(), { limit: 10_000, most: 10_000 }));
      },
    },
    "GET /v1/files/:id": { summary: "Describes a file", handle: (c) => c.json(files.get(id(c)).object) },
    "GET /v1/files/:id/content": {
      summary: "Returns a file as it was sent",
      handle: (c) => {
        const { filename, bytes } = files.get(id(c)).object;
        return c.body(streamOf(readChunks(platform.files, files.path(id(c)))), 200, {
          "content-type": "application/octet-stream",
          "content-length": String(bytes),
          "content-disposition": `attachment; filename*=UTF-8''${encodeURIComponent(filename)}`,
        });
      },
    },
    "DELETE /v1/files/:id": {
      summary: "Deletes a file",
      handle: async (c) => {
        await removeFile(id(c));
        return c.json({ id: id(c), object: "file", deleted: true });
      },
    },
  };
}

function jobRoutes({ service: { limits } }: Core, { jobs, create, cancel, pause, resume }: FineTuning): Routes {
  return {
    "POST /v1/fine_tuning/jobs": {
      summary: "Starts a fine-tuning job",
      body: () => jobBody,
      handle: async (c) => c.json(await create(readJobRequest(await readJson(c.req.raw, limits)))),
    },
    "GET /v1/fine_tuning/jobs": {
      summary: "Lists jobs, newest first",
      handle: (c) => {
        const query = c.req.query();
        const list = jobs.list().map(({ object }) => object);
        return c.json(page(list.filter(labelled(query)), query, { limit: 20, most: 100 }));
      },
    },
    "GET /v1/fine_tuning/jobs/:id": { summary: "Describes a job", handle: (c) => c.json(jobs.get(id(c)).object) },
    "POST /v1/fine_tuning/jobs/:id/cancel": {
      summary: "Ends a job",
      handle: async (c) => c.json(await cancel(id(c))),
    },
    "POST /v1/fine_tuning/jobs/:id/pause": {
      summary: "Puts a job down until it is resumed",
      handle: async (c) => c.json(await pause(id(c))),
    },
    "POST /v1/fine_tuning/jobs/:id/resume": {
      summary: "Has a paused job go on",
      handle: async (c) => c.json(await resume(id(c))),
    },
    "GET /v1/fine_tuning/jobs/:id/events": {
      summary: "Lists what happened to a job, newest first",
      handle: async (c) => c.json(page(await jobs.events(id(c)), c.req.query(), { limit: 20, most: 100 })),
    },
    "GET /v1/fine_tuning/jobs/:id/checkpoints": {
      summary: "Lists the checkpoints of a job, newest first",
      handle: (c) => c.json(page([...jobs.get(id(c)).checkpoints].reverse(), c.req.query(), { limit: 10, most: 100 })),
    },
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
