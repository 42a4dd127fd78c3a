import { z } from "zod";
import { call } from "../route.js";

export const models = call({
  summary: "the models that are on this machine",
  request: z.strictObject({}),
  answer: async ({ host }) => ({ models: await host.models() }),
});
