import { z } from "zod";
import { call } from "../route.js";

export const serve = call({
  summary: "serves a base and an adapter as OpenAI's API at an address of its own, on this machine only",
  request: z.strictObject({
    base: z.string("expected a path or owner/name").min(1),
    adapter: z.string("expected an adapter's folder").min(1),
    name: z.string("expected a text").regex(/^[\w][\w.-]{0,80}$/, "expected letters, digits, '_', '.' and '-'"),
  }),
  answer: ({ served }, { base, adapter, name }) => served.start(base, adapter, name),
});

export const servers = call({
  summary: "what is served",
  request: z.strictObject({}),
  answer: async ({ served }) => ({ servers: served.list() }),
});

export const unserve = call({
  summary: "ends what is served at an address",
  request: z.strictObject({ url: z.string("expected an address").min(1) }),
  async answer({ served }, { url }) {
    await served.stop(url);
    return { url };
  },
});
