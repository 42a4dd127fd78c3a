import type { PreviewRow, PreviewSummary } from "../recipes/preview.js";

/** Should text be coloured? On a terminal, unless NO_COLOR (https://no-color.org) is set. */
export function wantsColour(isTerminal: boolean, env: Readonly<Record<string, string | undefined>>): boolean {
  return isTerminal && !env.NO_COLOR && env.TERM !== "dumb";
}

const [green, dim, reset] = ["\u001b[32m", "\u001b[2m", "\u001b[0m"];

/**
 * A row for people: targets green and the rest dim, or, without colour, targets between ⟦ and ⟧. Control characters are
 * shown, never sent to the terminal.
 */
export function renderPreviewRow(row: PreviewRow, { colour }: { colour: boolean }): string {
  const targets = row.tokens.filter((token) => token.supervised).length;
  const runs: { text: string; supervised: boolean }[] = [];
  for (const { text, supervised } of row.tokens) {
    const last = runs.at(-1);
    if (last?.supervised === supervised) last.text += text;
    else runs.push({ text, supervised });
  }
  const body = runs.map(({ text, supervised }) => {
    const shown = inert(text);
    if (colour) return `${supervised ? green : dim}${shown}${reset}`;
    return supervised ? `⟦${shown}⟧` : shown;
  });
  const { columns } = row;
  const what = columns ? "of a prompt" : `, ${targets} targets`;
  const beside = Object.entries(columns ?? {}).map(
    ([name, value]) => `${inert(name)}: ${inert(JSON.stringify(value))}\n`,
  );
  const head = `row ${row.index}${row.side ? `, ${row.side}` : ""}: ${row.tokens.length} tokens${columns ? " " : ""}${what}`;
  return `${head}\n${body.join("")}\n${beside.join("")}`;
}

/** The summary as lines. */
export function renderPreviewSummary(summary: PreviewSummary): string {
  const { lengths, microBatchesPerEpoch, stepsPerEpoch, packingEfficiency } = summary;
  const lines = [
    ...summary.lines.map(inert),
    `lengths: ${lengths.min} to ${lengths.max} tokens, median ${lengths.median}`,
    `an epoch: ${microBatchesPerEpoch} micro-batches, ${stepsPerEpoch} steps`,
  ];
  if (packingEfficiency !== undefined) lines.push(`packing: rows ${(100 * packingEfficiency).toFixed(1)}% full`);
  return `${lines.join("\n")}\n`;
}

/**
 * Makes text from a dataset harmless and visible on a terminal: control characters as Unicode's pictures of them, newlines
 * with a mark before them, and what hides or reorders text (zero-width and bidirectional marks) by number.
 */
export function inert(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (character) => {
    const code = character.codePointAt(0)!;
    if (character === "\n") return "↵\n";
    if (code < 0x20) return String.fromCodePoint(0x2400 + code);
    if (code === 0x7f) return "␡";
    return `<U+${code.toString(16).toUpperCase().padStart(4, "0")}>`;
  });
}
