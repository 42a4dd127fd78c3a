import { openApiDocument } from "../openapi.js";
import type { Core, Routes } from "../route.js";

/** Says that the server answers, and no more: so it needs no key. */
export const HEALTH = "/health";

/** What is known of the server itself. */
export function systemRoutes({ service: { registry, slots }, metrics, fineTuning }: Core): Routes {
  return {
    [`GET ${HEALTH}`]: { summary: "Says that the server answers", handle: (c) => c.json({ status: "ok" }) },
    "GET /metrics": {
      summary: "Counters, gauges and histograms in Prometheus' text format",
      handle: (c) =>
        c.text(
          metrics.text({
            lowrank_active_requests: slots.active,
            lowrank_waiting_requests: slots.waiting,
            lowrank_adapters: registry.names().length,
            ...(fineTuning
              ? { lowrank_running_jobs: fineTuning.load.running, lowrank_waiting_jobs: fineTuning.load.waiting }
              : {}),
          }),
        ),
    },
  };
}

/** The routes themselves, as a document; `routes`: all of them. */
export function documentRoutes({ service: { limits } }: Core, routes: () => Routes): Routes {
  return {
    "GET /openapi.json": {
      summary: "This document",
      handle: (c) => c.json(openApiDocument(routes(), limits)),
    },
  };
}
