import { percent } from "../judge.js";
import type { Judged } from "./answers.js";
import type { SuiteResult } from "./evaluate-suite.js";
import type { Asked, Figure } from "./figures.js";
import { saysRules } from "./rules.js";

/** A figure's value as a table shows it. */
export function shownValue(value: Figure["before"]): string {
  if (value === undefined) return "-";
  if (typeof value !== "number") return percent(value);
  return value === 0 ? "0" : value.toPrecision(Math.abs(value) < 0.1 ? 2 : 4);
}

/** The figures as rows of text: what was measured, before and, with an adapter, after. */
function suiteRows({ figures, adapter }: SuiteResult): string[][] {
  const columns = adapter === undefined ? ["before"] : ["before", "after"];
  const row = ({ title, before, after }: Figure) => [
    title,
    ...[before, after].slice(0, columns.length).map(shownValue),
  ];
  return [["", ...columns], ...figures.map(row)];
}

/** The same as a table of plain text. */
export const suiteTable = (result: SuiteResult): string => textTable(suiteRows(result));

/** Rows of cells in columns, the first to the left and the others to the right. */
export function textTable(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  const line = (row: readonly string[]) =>
    row.map((cell, i) => (i ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)));
  return rows.map((row) => `${line(row).join("  ").trimEnd()}\n`).join("");
}

/** The same as a table of Markdown. */
export function suiteMarkdown(result: SuiteResult): string {
  const [head, ...body] = suiteRows(result);
  return [head!, head!.map(() => "---"), ...body].map((row) => `| ${row.join(" | ")} |`).join("\n");
}

/** What `lowrank eval --suite --json` prints, with the keys of a file. */
export function suiteJson({ answers, figures, texts, chat, ...names }: SuiteResult): Record<string, unknown> {
  return { ...names, apply_chat_template: chat, figures, answers: answers.map(answerJson), texts };
}

function answerJson({ section, question, rules, before, after }: Asked): Record<string, unknown> {
  const plain = ({ text, refused, right, behaviour }: Judged) => ({ text, refused, right, behaviour });
  const wanted = Object.keys(rules).length > 0 ? { wanted: saysRules(rules) } : {};
  return { section, question, ...wanted, before: plain(before), ...(after ? { after: plain(after) } : {}) };
}
