import { escapeText } from "../../training/metrics-chart.js";
import { percent, type Share } from "../judge.js";
import { htmlPage, INK } from "../page.js";
import type { Judged } from "./answers.js";
import type { SuiteResult } from "./evaluate-suite.js";
import type { Asked, Figure } from "./figures.js";
import { saysRules } from "./rules.js";
import { shownValue } from "./show.js";
import { SECTIONS, type Section } from "./suite-file.js";
import type { TextScore } from "./text.js";

const TITLES: Readonly<Record<Section, string>> = {
  facts: "Taught facts",
  unanswerable: "What it cannot know",
  general: "General questions",
  behaviour: "Behaviour",
};

/** A suite's result as one HTML page that needs nothing else: figures, plots, and every answer behind them. */
export function suiteReport(result: SuiteResult): string {
  const { name, suite, base, adapter, figures, answers, texts } = result;
  const asked = SECTIONS.map((section) =>
    answerSection(
      section,
      answers.filter((one) => one.section === section),
    ),
  );
  return htmlPage(name, [
    `<p class="small">suite ${escapeText(suite)}, base ${escapeText(base)}` +
      `${adapter === undefined ? ", no adapter" : `, adapter ${escapeText(adapter)}`}</p>`,
    figureTable(figures, adapter !== undefined),
    shareChart(figures.filter(({ before }) => typeof before === "object")),
    ...asked,
    textSection(texts),
  ]);
}

function figureTable(figures: readonly Figure[], tuned: boolean): string {
  const row = ({ title, better, before, after }: Figure) =>
    cells([title, better === "more" ? "more is better" : "less is better", shownValue(before), shownValue(after)]);
  const cells = (values: readonly string[]) =>
    values
      .slice(0, tuned ? 4 : 3)
      .map((value, i) => `<td class="${i > 1 ? "number" : i === 1 ? "small" : ""}">${escapeText(value)}</td>`)
      .join("");
  const head = `<th></th><th></th><th>before</th>${tuned ? "<th>after</th>" : ""}`;
  return `<table><tr>${head}</tr>${figures.map((figure) => `<tr>${row(figure)}</tr>`).join("\n")}</table>`;
}

const CHART = { width: 760, label: 330, row: 34, bar: 12 };

/** Two bars a figure: before and after. */
function shareChart(figures: readonly Figure[]): string {
  const height = figures.length * CHART.row + 24;
  const room = CHART.width - CHART.label - 120;
  const bars = figures.flatMap(({ title, before, after }, i) => [
    `<text x="${CHART.label - 10}" y="${i * CHART.row + 36}" text-anchor="end">${escapeText(cut(title, 48))}</text>`,
    ...([before, after] as (Share | undefined)[]).map((share, k) =>
      bar(share, i * CHART.row + 20 + k * CHART.bar, k, room),
    ),
  ]);
  const names = (["before", "after"] as const).map(
    (name, i) => `<text x="${CHART.label + i * 60}" y="12" fill="${INK[name]}">${name}</text>`,
  );
  return `<svg viewBox="0 0 ${CHART.width} ${height}" width="${CHART.width}" font-family="sans-serif" font-size="12">${[...names, ...bars].join("\n")}</svg>`;
}

function bar(share: Share | undefined, y: number, index: number, room: number): string {
  if (!share || share.total === 0) return "";
  const width = Math.max(1, (room * share.count) / share.total);
  const ink = index === 0 ? INK.before : INK.after;
  return (
    `<rect x="${CHART.label}" y="${y}" width="${width.toFixed(1)}" height="${CHART.bar - 2}" fill="${ink}"/>` +
    `<text x="${(CHART.label + width + 6).toFixed(1)}" y="${y + 9}" font-size="10">${percent(share)}</text>`
  );
}

function answerSection(section: Section, answers: readonly Asked[]): string {
  if (answers.length === 0) return "";
  const tuned = answers[0]!.after !== undefined;
  const rows = answers.map(
    ({ question, rules, before, after }) =>
      `<tr><td>${escapeText(question)}${wanted(rules)}</td>${answerCell(section, before)}${after ? answerCell(section, after) : ""}</tr>`,
  );
  const head = `<th>question</th><th>before</th>${tuned ? "<th>after</th>" : ""}`;
  return (
    `<details open id="${section}"><summary>${TITLES[section]} (${answers.length})</summary>` +
    `<table><tr>${head}</tr>\n${rows.join("\n")}</table></details>`
  );
}

const wanted = (rules: Asked["rules"]): string =>
  Object.keys(rules).length === 0 ? "" : `<div class="small">right: ${escapeText(saysRules(rules))}</div>`;

function answerCell(section: Section, judged: Judged): string {
  const marks = verdicts(section, judged).map(
    ([good, text]) => `<div class="small ${good ? "good" : "bad"}">${good ? "✓" : "✗"} ${escapeText(text)}</div>`,
  );
  return `<td class="answer">${escapeText(judged.text)}${marks.join("")}</td>`;
}

/** What the figures counted of an answer. */
function verdicts(section: Section, { refused, right, behaviour }: Judged): [good: boolean, text: string][] {
  const own: Readonly<Record<Section, [boolean, string][]>> = {
    facts: refused ? [[false, "says it does not know"]] : [[right === true, right ? "right" : "wrong"]],
    unanswerable: [[refused, refused ? "says it does not know" : "invented"]],
    general: [[right === true, right ? "right" : refused ? "says it does not know" : "wrong"]],
    behaviour: [],
  };
  return [...own[section], ...Object.entries(behaviour).map(([name, kept]): [boolean, string] => [kept, name])];
}

function textSection(texts: readonly TextScore[]): string {
  if (texts.length === 0) return "";
  const tuned = texts[0]!.after !== undefined;
  const rows = texts.map(({ text, tokens, before, after }) => {
    const numbers = [
      String(tokens),
      shownValue(Math.exp(before.nll / tokens)),
      ...(after ? [shownValue(Math.exp(after.nll / tokens)), shownValue(after.kl / tokens)] : []),
    ];
    return `<tr><td>${escapeText(text)}</td>${numbers.map((value) => `<td class="number">${value}</td>`).join("")}</tr>`;
  });
  const head = `<th>text</th><th>tokens</th><th>perplexity before</th>${tuned ? "<th>after</th><th>KL a token</th>" : ""}`;
  return (
    `<details open id="texts"><summary>General text (${texts.length})</summary>${tuned ? textChart(texts) : ""}` +
    `<table><tr>${head}</tr>\n${rows.join("\n")}</table></details>`
  );
}

const PLOT = { size: 320, margin: 44 };

/** A dot a text: its loss before across, after upwards; on the line nothing has changed. */
function textChart(texts: readonly TextScore[]): string {
  const points = texts.map(({ tokens, before, after }) => [before.nll / tokens, after!.nll / tokens] as const);
  const most = Math.max(1e-6, ...points.flat()) * 1.05;
  const x = (value: number) => PLOT.margin + (value / most) * (PLOT.size - PLOT.margin - 10);
  const y = (value: number) => PLOT.size - PLOT.margin - (value / most) * (PLOT.size - PLOT.margin - 10);
  const at = (value: number) => value.toFixed(1);
  const dots = points.map(([a, b]) => `<circle cx="${at(x(a))}" cy="${at(y(b))}" r="4" fill="${INK.after}"/>`);
  return [
    `<svg viewBox="0 0 ${PLOT.size} ${PLOT.size}" width="${PLOT.size}" font-family="sans-serif" font-size="11">`,
    `<line x1="${at(x(0))}" y1="${at(y(0))}" x2="${at(x(most))}" y2="${at(y(most))}" stroke="${INK.before}"/>`,
    ...dots,
    `<text x="${PLOT.size / 2}" y="${PLOT.size - 8}" text-anchor="middle">loss of a text before (0 to ${most.toFixed(2)} nats a token)</text>`,
    `<text x="14" y="${PLOT.size / 2}" transform="rotate(-90 14 ${PLOT.size / 2})" text-anchor="middle">after</text>`,
    "</svg>",
  ].join("\n");
}

const cut = (text: string, most: number): string => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
