import type { HelpTable } from "./commands.js";

/** Texts beside each other, wrapped at words, in `width` characters; below each other where columns would be too narrow. */
export function sideBySide(texts: readonly { readonly title: string; readonly text: string }[], width: number): string {
  const column = Math.floor((width + GAP.length) / texts.length) - GAP.length;
  if (column < NARROWEST) return texts.map(({ title, text }) => `[${title}]\n${text}\n`).join("");
  const columns = texts.map(({ title, text }) => [`[${title}]`, text].flatMap((part) => wrap(part, column)));
  const height = Math.max(...columns.map((lines) => lines.length));
  const line = (at: number) => columns.map((lines) => (lines[at] ?? "").padEnd(column)).join(GAP);
  return Array.from({ length: height }, (_, at) => `${line(at).trimEnd()}\n`).join("");
}

/** A table for help: under its title each row is a name and its facts below each other, wrapped in `width` characters. */
export function tableText({ title, headings, rows }: HelpTable, width: number): string {
  const name = Math.max(...rows.map(([first]) => first!.length));
  const rest = Math.max(NARROWEST, width - name - INDENT.length - GAP.length);
  const lines = rows.flatMap(([first, text, ...facts]) =>
    [text!, ...facts.map((fact, i) => `${headings[i + 2]}: ${fact}`)]
      .flatMap((line) => wrap(line, rest))
      .map((line, i) => `${INDENT}${(i === 0 ? first! : "").padEnd(name)}${GAP}${line}`),
  );
  return [`${title}:`, ...lines].join("\n");
}

const INDENT = "  ";
const GAP = "   ";
const NARROWEST = 20;

function wrap(text: string, width: number): string[] {
  return text.split("\n").flatMap((paragraph) => {
    const lines: string[] = [];
    let rest = paragraph;
    while (rest.length > width) {
      const space = rest.lastIndexOf(" ", width);
      const end = space > 0 ? space : width;
      lines.push(rest.slice(0, end));
      rest = rest.slice(end).trimStart();
    }
    return [...lines, rest];
  });
}
