/** What happened to one request; none of what it says. */
export interface RequestLog {
  /** ISO time of arrival. */
  readonly time: string;
  /** The reply's `x-request-id`. */
  readonly id: string;
  readonly method: string;
  /** The route, e.g. `/v1/chat/completions`; "other" for paths that are none. */
  readonly route: string;
  /** 499: the client left. */
  readonly status: number;
  readonly milliseconds: number;
  readonly model?: string;
  readonly promptTokens?: number;
  readonly completionTokens?: number;
}

/** Counters in Prometheus' text format. */
export interface Metrics {
  record(log: RequestLog): void;
  /** The page, with these gauges added. */
  text(gauges: Readonly<Record<string, number>>): string;
}

export function createMetrics(): Metrics {
  const counters = new Map<string, number>();
  const add = (name: string, labels: Readonly<Record<string, string | number>>, amount: number) => {
    const list = Object.entries(labels).map(([key, value]) => `${key}="${escaped(String(value))}"`);
    const series = `${name}{${list.join(",")}}`;
    counters.set(series, (counters.get(series) ?? 0) + amount);
  };
  return {
    record({ route, status, milliseconds, model, promptTokens = 0, completionTokens = 0 }) {
      add("lowrank_requests_total", { route, status }, 1);
      add("lowrank_request_seconds_total", { route }, milliseconds / 1000);
      if (model === undefined) return;
      add("lowrank_prompt_tokens_total", { model }, promptTokens);
      add("lowrank_completion_tokens_total", { model }, completionTokens);
    },
    text(gauges) {
      const lines: string[] = [];
      let family = "";
      for (const [series, value] of [...counters].sort(([a], [b]) => (a < b ? -1 : 1))) {
        const name = series.slice(0, series.indexOf("{"));
        if (name !== family) lines.push(`# TYPE ${(family = name)} counter`);
        lines.push(`${series} ${value}`);
      }
      for (const [name, value] of Object.entries(gauges)) lines.push(`# TYPE ${name} gauge`, `${name} ${value}`);
      return `${lines.join("\n")}\n`;
    },
  };
}

function escaped(value: string): string {
  return value.replace(/[\\"\n]/g, (c) => (c === "\n" ? "\\n" : `\\${c}`));
}
