import { z } from "zod";
import { inspect } from "../../recipes/inspect.js";
import { call } from "../route.js";

export const model = call({
  summary: "what a base holds: kind, parameters, bytes, stored types, context, whether it has a chat template",
  request: z.strictObject({ base: z.string("expected a path or owner/name").min(1) }),
  async answer({ platform }, { base }) {
    const found = await inspect(platform.resolveModel(base), platform);
    const { architecture, modelType, maxPositionEmbeddings, chatTemplate } = found.details;
    const known = { architecture: architecture ?? modelType ?? null, context: maxPositionEmbeddings ?? null };
    return {
      kind: found.kind,
      path: found.path,
      parameters: found.parameters,
      bytes: found.bytes,
      stored: found.stored,
      ...known,
      chat_template: chatTemplate ?? null,
      notes: found.notes,
    };
  },
});
