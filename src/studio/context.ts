import type { Platform } from "../platform/platform.js";
import type { StudioHost } from "./host.js";
import type { Jobs } from "./jobs.js";
import type { Models } from "./models.js";
import type { Readings } from "./readings.js";
import type { Served } from "./served.js";

/** What the routes work with. */
export interface StudioContext {
  readonly platform: Platform;
  readonly host: StudioHost;
  readonly models: Models;
  readonly jobs: Jobs;
  readonly readings: Readings;
  readonly served: Served;
}
