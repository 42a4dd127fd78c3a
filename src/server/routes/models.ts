import { checkModel } from "../answer.js";
import { ApiError } from "../errors.js";
import type { FineTuning } from "../fine-tuning/index.js";
import type { Core, Routes } from "../route.js";

/** The base and its adapters. */
export function modelRoutes({ service: { registry, baseId }, started }: Core): Routes {
  const modelObject = (id: string) => ({
    id,
    object: "model",
    created: Math.floor(started / 1000),
    owned_by: "lowrank",
    parent: id === baseId ? null : baseId,
    max_model_len: registry.model.resident.config.maxPositionEmbeddings,
    embeddings: { pooling: "last", dimensions: registry.model.resident.config.hiddenSize },
  });
  return {
    "GET /v1/models": {
      summary: "Lists the base and its adapters",
      handle: (c) => c.json({ object: "list", data: [baseId, ...registry.names()].map(modelObject) }),
    },
    "GET /v1/models/:id{.+}": {
      summary: "Describes a model",
      handle: (c) => {
        const model = c.req.param("id")!;
        checkModel(registry, baseId, { model, adapterScale: undefined });
        return c.json(modelObject(model));
      },
    },
  };
}

/** Deletes what a job made. */
export function deletionRoutes({ service: { registry, baseId } }: Core, { removeModel }: FineTuning): Routes {
  return {
    "DELETE /v1/models/:id{.+}": {
      summary: "Deletes a model that a job made",
      handle: async (c) => {
        const model = c.req.param("id")!;
        if (await removeModel(model)) return c.json({ id: model, object: "model", deleted: true });
        checkModel(registry, baseId, { model, adapterScale: undefined });
        throw new ApiError(403, `'${model}' was not made by a fine-tuning job: the server was started with it`);
      },
    },
  };
}
