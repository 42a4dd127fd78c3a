import { z } from "zod";
import { generate as generateText } from "../../recipes/generate.js";
import { refuseOtherScale } from "../../recipes/model.js";
import { hasTemplates } from "../../tokenizers/files.js";
import { BASE_PRECISIONS } from "../../weights/base-precision.js";
import type { ModelLease } from "../models.js";
import { stream } from "../route.js";
import { told } from "../told.js";

type Piece =
  | { readonly type: "loading"; readonly done: number; readonly total: number }
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "end"; readonly tokens: number; readonly seconds: number; readonly finish_reason: string };

export const generate = stream({
  summary:
    "answers a question, piece by piece: the base, or an adapter's folder (a run's or checkpoint's too) at a scale; without `chat` it goes on with the text as it is",
  request: z.strictObject({
    base: z.string("expected a path or owner/name").min(1),
    base_precision: z.enum(BASE_PRECISIONS, `expected one of ${BASE_PRECISIONS.join(", ")}`).optional(),
    adapter: z.string("expected an adapter's folder").min(1).optional(),
    scale: z.number("expected a number").min(-4, "expected -4 to 4").max(4, "expected -4 to 4").default(1),
    chat: z.boolean("expected true or false").default(true),
    question: z.string("expected a text").min(1).max(100_000),
    system: z.string("expected a text").max(100_000).optional(),
    max_new_tokens: z.int("expected a whole number").min(1).max(2048).default(128),
    temperature: z.number("expected a number").min(0).max(2).default(0),
    seed: z.int("expected a whole number").min(0).default(0),
  }),
  async *events({ models, platform }, asked, signal): AsyncGenerator<Piece, void> {
    const { base, base_precision: basePrecision, adapter: folder, scale, question, system, chat, ...sampling } = asked;
    const wanted = { base, ...(basePrecision ? { basePrecision } : {}) };
    const lease = yield* told<Piece, ModelLease>((tell) =>
      models.lease(wanted, (done, total) => tell({ type: "loading", done, total })),
    );
    try {
      const loaded = folder === undefined ? undefined : await lease.adapter(folder);
      if (loaded) refuseOtherScale(loaded, scale);
      const adapter = loaded && { ...loaded, resident: { ...loaded.resident, factor: scale } };
      const messages = [...(system ? [{ role: "system", content: system }] : []), { role: "user", content: question }];
      const hasTemplate = hasTemplates(lease.model.open.tokenizer) || loaded?.chat !== undefined;
      const began = platform.now();
      const run = generateText(lease.model, chat && hasTemplate ? { messages } : { prompt: question }, {
        maxNewTokens: sampling.max_new_tokens,
        temperature: sampling.temperature,
        seed: sampling.seed,
        signal,
        ...(adapter ? { adapter } : {}),
      });
      for await (const text of run) yield { type: "text", text };
      const { tokenIds, finishReason } = await run.result();
      const seconds = (platform.now() - began) / 1000;
      yield { type: "end", tokens: tokenIds.length, seconds, finish_reason: finishReason };
    } finally {
      lease.release();
    }
  },
});
