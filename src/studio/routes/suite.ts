import { z } from "zod";
import { evaluateSuite } from "../../recipes/suite/evaluate-suite.js";
import { suiteJson } from "../../recipes/suite/show.js";
import { stream } from "../route.js";
import { told } from "../told.js";

/** What `lowrank eval --suite` prints as JSON, as far as the page shows it. */
export interface SuiteTable {
  readonly name: string;
  readonly figures: readonly {
    readonly key: string;
    readonly title: string;
    readonly better: "more" | "less";
    readonly before?: number | { readonly count: number; readonly total: number };
    readonly after?: number | { readonly count: number; readonly total: number };
  }[];
  readonly answers: readonly {
    readonly section: string;
    readonly question: string;
    readonly wanted?: string;
    readonly before: SuiteAnswer;
    readonly after?: SuiteAnswer;
  }[];
}

interface SuiteAnswer {
  readonly text: string;
  readonly refused: boolean;
  readonly right?: boolean;
  readonly behaviour: Readonly<Record<string, boolean>>;
}

type SuiteEvent =
  | { readonly type: "progress"; readonly done: number; readonly total: number }
  | { readonly type: "end"; readonly result: SuiteTable };

export const suite = stream({
  summary: "asks a suite's questions of the base and of an adapter: the figures, and every answer behind them",
  request: z.strictObject({
    base: z.string("expected a path or owner/name").min(1),
    adapter: z.string("expected an adapter's folder").min(1).optional(),
    chat: z.boolean("expected true or false").optional(),
    suite: z.string("expected the path of a suite (docs/suites.md)").min(1),
  }),
  async *events({ models }, { base, adapter: folder, chat, suite: path }, signal): AsyncGenerator<SuiteEvent, void> {
    const lease = await models.lease({ base });
    try {
      const adapter = folder === undefined ? undefined : await lease.adapter(folder);
      const result = yield* told((tell: (event: SuiteEvent) => void) =>
        evaluateSuite(lease.model, path, {
          signal,
          onProgress: (done, total) => tell({ type: "progress", done, total }),
          ...(adapter ? { adapter } : {}),
          ...(chat === undefined ? {} : { chat }),
        }),
      );
      yield { type: "end", result: suiteJson(result) as unknown as SuiteTable };
    } finally {
      lease.release();
    }
  },
});
