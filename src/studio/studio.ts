import type { Content } from "../formats/files.js";
import { baseName, join } from "../formats/files.js";
import type { Platform } from "../platform/platform.js";
import { ApiError } from "../server/errors.js";
import { parseBody } from "../server/fields.js";
import { nearest } from "../tensor/index.js";
import type { StudioContext } from "./context.js";
import type { StudioHost } from "./host.js";
import { createJobs } from "./jobs.js";
import { createModels } from "./models.js";
import { createReadings } from "./readings.js";
import type { Call, Stream } from "./route.js";
import { CALLS, STREAMS } from "./routes/index.js";
import { freePath } from "./runs.js";
import { createServed } from "./served.js";
import { DATA } from "./stored.js";

/** What stands behind the page: `backend.ts` has the same with types. */
export interface Studio {
  /** Answers a call. Throws ApiError for a name that is none and a request that is wrong, UserError for what cannot be done. */
  call(name: string, request: Readonly<Record<string, unknown>>, signal: AbortSignal): Promise<unknown>;
  /** Whether a name is that of a stream. */
  streams(name: string): boolean;
  /** Events until the work is done, or the signal is aborted. */
  stream(name: string, request: Readonly<Record<string, unknown>>, signal: AbortSignal): AsyncGenerator<unknown, void>;
  /** Keeps a file of rows under the studio's folder; where. Nothing that is there is replaced. */
  upload(name: string, content: Content): Promise<{ readonly path: string }>;
  /** Stops the run in progress with a checkpoint, what is served, and frees the model. */
  close(): Promise<void>;
}

/** The studio over a platform: recipes for a page. `onError` is told of errors that are no user's. */
export function createStudio(platform: Platform, host: StudioHost, onError: (error: unknown) => void): Studio {
  const models = createModels(platform);
  const jobs = createJobs(platform, models, onError);
  const served = createServed(host, models);
  const context: StudioContext = { platform, host, models, jobs, served, readings: createReadings(platform) };
  const calls = CALLS as unknown as Record<string, Call<never, unknown>>;
  const streams = STREAMS as unknown as Record<string, Stream<never, unknown>>;
  return {
    async call(name, request, signal) {
      const route = Object.hasOwn(calls, name) ? calls[name]! : unknownRoute(name);
      return route.answer(context, parseBody(route.request, request, {}), signal);
    },
    streams: (name) => Object.hasOwn(streams, name),
    async *stream(name, request, signal) {
      const route = Object.hasOwn(streams, name) ? streams[name]! : unknownRoute(name);
      yield* route.events(context, parseBody(route.request, request, {}), signal);
    },
    async upload(name, content) {
      const folder = join(host.folder, DATA);
      await platform.files.makeFolder(folder);
      const path = await freePath(platform.files, join(folder, plainName(name)));
      await platform.files.write(path, content);
      return { path };
    },
    async close() {
      await jobs.close();
      await served.close();
      await models.close();
    },
  };
}

function unknownRoute(name: string): never {
  const near = nearest(name, [...Object.keys(CALLS), ...Object.keys(STREAMS)]);
  throw new ApiError(404, `there is no '${name.slice(0, 100)}' here${near ? `; did you mean ${near}?` : ""}`, {
    code: "unknown_url",
  });
}

/** A name that a file may have on any system; the ending, which says how it is read, stays. */
function plainName(name: string): string {
  const plain = baseName(name)
    .normalize("NFC")
    .replace(/[^\p{L}\p{N}._-]+/gu, "-")
    .replace(/^[.-]+/, "");
  return plain.slice(-100) || "rows.jsonl";
}
