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
  /** From arrival to the first of the text; where any was made. */
  readonly millisecondsToFirst?: number;
  /** Texts that were made for it, at the same time. */
  readonly answers?: number;
}

/** Counters, gauges and histograms in Prometheus' text format. */
export interface Metrics {
  record(log: RequestLog): void;
  /** The page, with these gauges added. */
  text(gauges: Readonly<Partial<Record<GaugeName, number>>>): string;
}

type Labels = Readonly<Record<string, string | number>>;

/** Seconds that a request, or its first token, may take. */
const LONG = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300] as const;
const SHORT = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5] as const;
const TOKENS = [1, 8, 32, 128, 512, 2048, 8192, 32768] as const;

const GAUGES = {
  lowrank_active_requests: "Requests that are generating",
  lowrank_waiting_requests: "Requests that wait for a slot",
  lowrank_adapters: "Adapters that are loaded",
  lowrank_running_jobs: "Fine-tuning jobs that run",
  lowrank_waiting_jobs: "Fine-tuning jobs that wait",
} as const;
type GaugeName = keyof typeof GAUGES;

/** What is counted of a request that is over; `of`: nothing where it does not apply. */
interface Counted {
  readonly help: string;
  /** Upper bounds of a histogram's buckets. Default: it is a counter. */
  readonly buckets?: readonly number[];
  of(log: RequestLog): { readonly labels: Labels; readonly value: number } | undefined;
}

const byRoute = ({ route }: RequestLog, value: number) => ({ labels: { route }, value });
const byModel = ({ model }: RequestLog, value: number | undefined) =>
  model === undefined || value === undefined ? undefined : { labels: { model }, value };

const COUNTED: Readonly<Record<string, Counted>> = {
  lowrank_requests_total: {
    help: "Requests that are over",
    of: ({ route, status }) => ({ labels: { route, status }, value: 1 }),
  },
  lowrank_prompt_tokens_total: {
    help: "Tokens of prompts",
    of: (log) => byModel(log, log.promptTokens),
  },
  lowrank_completion_tokens_total: {
    help: "Tokens that were made",
    of: (log) => byModel(log, log.completionTokens),
  },
  lowrank_request_seconds: {
    help: "Seconds from a request's arrival to the end of its reply",
    buckets: LONG,
    of: (log) => byRoute(log, log.milliseconds / 1000),
  },
  lowrank_time_to_first_token_seconds: {
    help: "Seconds from a request's arrival to the first of its text",
    buckets: LONG,
    of: (log) => byModel(log, log.millisecondsToFirst === undefined ? undefined : log.millisecondsToFirst / 1000),
  },
  lowrank_time_per_output_token_seconds: {
    help: "Seconds between two tokens of a text, the mean of a request",
    buckets: SHORT,
    of: (log) => byModel(log, secondsPerToken(log)),
  },
  lowrank_request_prompt_tokens: {
    help: "Tokens of a request's prompts",
    buckets: TOKENS,
    of: (log) => byModel(log, log.promptTokens || undefined),
  },
  lowrank_request_completion_tokens: {
    help: "Tokens that were made for a request",
    buckets: TOKENS,
    of: (log) => byModel(log, log.completionTokens || undefined),
  },
};

function secondsPerToken({ milliseconds, millisecondsToFirst, completionTokens = 0, answers = 1 }: RequestLog) {
  const following = completionTokens - answers;
  if (millisecondsToFirst === undefined || following <= 0) return undefined;
  return ((milliseconds - millisecondsToFirst) * answers) / following / 1000;
}

/** What was counted under one set of labels; `buckets[i]`: values up to the i-th bound. */
interface Series {
  readonly labels: Labels;
  sum: number;
  count: number;
  readonly buckets: number[];
}

export function createMetrics(): Metrics {
  const families = Object.entries(COUNTED).map(([name, counted]) => ({
    name,
    counted,
    series: new Map<string, Series>(),
  }));
  return {
    record(log) {
      for (const { counted, series } of families) {
        const found = counted.of(log);
        if (!found) continue;
        const key = labelled(found.labels);
        const buckets = (counted.buckets ?? []).map(() => 0);
        const one = series.get(key) ?? { labels: found.labels, sum: 0, count: 0, buckets };
        series.set(key, one);
        one.sum += found.value;
        one.count++;
        for (const [i, bound] of (counted.buckets ?? []).entries()) if (found.value <= bound) one.buckets[i]!++;
      }
    },
    text(gauges) {
      const lines = families.flatMap(({ name, counted, series }) => {
        const sorted = [...series].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, one]) => one);
        return sorted.length === 0
          ? []
          : [...head(name, counted), ...sorted.flatMap((one) => written(name, counted, one))];
      });
      for (const [name, value] of Object.entries(gauges)) {
        lines.push(`# HELP ${name} ${GAUGES[name as GaugeName]}`, `# TYPE ${name} gauge`, `${name} ${value}`);
      }
      return `${lines.join("\n")}\n`;
    },
  };
}

const head = (name: string, { help, buckets }: Counted): string[] => [
  `# HELP ${name} ${help}`,
  `# TYPE ${name} ${buckets ? "histogram" : "counter"}`,
];

function written(name: string, { buckets }: Counted, { labels, sum, count, buckets: counts }: Series): string[] {
  if (!buckets) return [`${name}${labelled(labels)} ${sum}`];
  return [
    ...buckets.map((bound, i) => `${name}_bucket${labelled({ ...labels, le: bound })} ${counts[i]}`),
    `${name}_bucket${labelled({ ...labels, le: "+Inf" })} ${count}`,
    `${name}_sum${labelled(labels)} ${sum}`,
    `${name}_count${labelled(labels)} ${count}`,
  ];
}

function labelled(labels: Labels): string {
  const list = Object.entries(labels).map(([key, value]) => `${key}="${escaped(String(value))}"`);
  return `{${list.join(",")}}`;
}

function escaped(value: string): string {
  return value.replace(/[\\"\n]/g, (c) => (c === "\n" ? "\\n" : `\\${c}`));
}
