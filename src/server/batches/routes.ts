import { page } from "../fine-tuning/wire.js";
import { readJson } from "../read-json.js";
import type { Core, Routes } from "../route.js";
import type { Batches } from "./index.js";
import { batchBody, readBatchOrder } from "./request.js";

/** /v1/batches as OpenAI's API reference has it. */
export function batchRoutes({ service: { limits } }: Core, batches: Batches): Routes {
  return {
    "POST /v1/batches": {
      summary: "Has a file of requests answered",
      body: () => batchBody,
      handle: async (c) => c.json(await batches.create(readBatchOrder(await readJson(c.req.raw, limits)))),
    },
    "GET /v1/batches": {
      summary: "Lists batches, newest first",
      handle: (c) => c.json(page(batches.list(), c.req.query(), { limit: 20, most: 100 })),
    },
    "GET /v1/batches/:id": {
      summary: "Describes a batch",
      handle: (c) => c.json(batches.get(c.req.param("id")!)),
    },
    "POST /v1/batches/:id/cancel": {
      summary: "Ends a batch; what was answered is kept",
      handle: async (c) => c.json(await batches.cancel(c.req.param("id")!)),
    },
  };
}
