export { type AdapterLease, type AdapterRegistry, createAdapterRegistry } from "../recipes/adapter-registry.js";
export { LATEST, servingCheckpoints } from "./checkpoints.js";
export { type FineTuning, type FineTuningOptions, openFineTuning } from "./fine-tuning/index.js";
export { type GuardOptions, LOOPBACK_HOSTS } from "./guard.js";
export { type HotReload, type HotReloadOptions, watchAdapters } from "./hot-reload.js";
export { DEFAULT_LIMITS, type ServerLimits } from "./limits.js";
export type { RequestLog } from "./metrics.js";
export { baseIdOf, createServer, type Server, type ServerOptions } from "./server.js";
