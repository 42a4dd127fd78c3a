import { escapeText } from "../training/metrics-chart.js";

/** Colours of reports. */
export const INK = { before: "#94a3b8", after: "#2563eb", good: "#15803d", bad: "#b91c1c" };

const STYLE = `
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #111827; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid #e5e7eb; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
td.answer { white-space: pre-wrap; overflow-wrap: anywhere; width: 32%; }
summary { font-size: 1.15rem; cursor: pointer; margin-top: 1.5rem; }
.small { color: #6b7280; font-size: .85rem; } .good { color: ${INK.good}; } .bad { color: ${INK.bad}; }
svg { max-width: 100%; height: auto; }`;

/** A report as one HTML page that needs nothing else; `body` is markup already. */
export function htmlPage(title: string, body: readonly string[]): string {
  return [
    "<!doctype html>",
    '<html lang="en"><head><meta charset="utf-8">',
    `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">`,
    `<meta name="viewport" content="width=device-width">`,
    `<title>${escapeText(title)}</title><style>${STYLE}</style></head><body>`,
    `<h1>${escapeText(title)}</h1>`,
    ...body,
    "</body></html>",
    "",
  ].join("\n");
}
