import { batchRoutes } from "../batches/routes.js";
import type { FineTuning } from "../fine-tuning/index.js";
import { fineTuningRoutes } from "../fine-tuning/routes.js";
import { responseRoutes } from "../responses/routes.js";
import type { Core, Routes } from "../route.js";
import { embeddingRoutes } from "./embeddings.js";
import { deletionRoutes, modelRoutes } from "./models.js";
import { documentRoutes, systemRoutes } from "./system.js";
import { textRoutes } from "./text.js";
import { tokenRoutes } from "./tokens.js";

export { HEALTH } from "./system.js";

/** Every route of a server. */
export function routesOf(core: Core): Routes {
  const { fineTuning } = core;
  const routes: Routes = {
    ...systemRoutes(core),
    ...documentRoutes(core, () => routes),
    ...modelRoutes(core),
    ...textRoutes(core),
    ...responseRoutes(core),
    ...embeddingRoutes(core),
    ...tokenRoutes(core),
    ...(fineTuning ? routesOfFolder(core, fineTuning) : {}),
  };
  return routes;
}

/** What needs a data folder. */
function routesOfFolder(core: Core, fineTuning: FineTuning): Routes {
  return {
    ...fineTuningRoutes(core, fineTuning),
    ...batchRoutes(core, fineTuning.batches),
    ...deletionRoutes(core, fineTuning),
  };
}
