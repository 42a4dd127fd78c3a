import type { z } from "zod";
import { configKeys, sectionOf } from "../recipes/config-keys.js";
import { trainSchema } from "../recipes/config-schema.js";
import { camelCase } from "../recipes/names.js";
import { COMMANDS, type HelpTable } from "./commands.js";
import { EXIT } from "./io.js";

/** docs/config.md: every config key, from the schema. */
export function configReference(): string {
  const rows = configKeys().map(({ key, type, fallback, required, description }) => {
    const value = required ? "required" : `\`${JSON.stringify(fallback)}\``;
    return `| \`${key}\` | ${cell(type)} | ${cell(value)} | ${cell(description)} |`;
  });
  return [
    "# Training config",
    "",
    "Generated from the schema in `src/recipes/config-schema.ts`. A config is YAML 1.2; keys with a dot stand in a section",
    "(`lora:` and below it `r: 8`); anchors, aliases and merge keys (`<<`) are read. In TypeScript the keys are camelCase",
    "(`lora: { targetModules: [...] }`). `lowrank validate FILE` reports every problem at once.",
    "",
    "On the command line any key can be set as `key=value` (`lora.r=16`). Text is taken as it is typed, quotes, `#` and spaces too;",
    "where a key may hold something else, `null`, `true`, `false` and numbers are that, and `[a, b]` or `a,b` is a list (of paths only the first).",
    "",
    "Paths are relative to the working directory, `~` at their beginning is the home folder. Write Windows paths in YAML without",
    "quotes or in single ones: in double quotes a backslash begins an escape, and a path with a control character is refused.",
    "",
    "| key | type | default | meaning |",
    "| --- | --- | --- | --- |",
    ...rows,
    "",
  ].join("\n");
}

/** src/recipes/train-options.ts: the config's keys in camelCase as types whose every key says what docs/config.md does. */
export function optionsReference(): string {
  const sections = sectionsUnder([], trainSchema);
  const keys = configKeys().map((key) => ({ ...key, path: key.key.split(".") }));
  const members = (section: readonly string[]) =>
    keys
      .filter(({ path }) => path.slice(0, -1).join(".") === section.join("."))
      .map(({ path, description, required, fallback }) => {
        const name = camelCase(path.at(-1)!);
        const words = required
          ? description
          : `${description} Default: ${fallback === null ? "none" : JSON.stringify(fallback)}.`;
        return `${comment(words)}\n  ${name}${required ? "" : "?"}: ${inputOf(section)}["${name}"];`;
      });
  const within = (outer: readonly string[]) =>
    sections
      .filter(({ path }) => path.slice(0, -1).join(".") === outer.join("."))
      .map(({ path, schema }) => {
        const optional = schema.isOptional();
        const words = optional ? `${schema.description} Default: the defaults of its keys.` : schema.description!;
        return `${comment(words)}\n  ${camelCase(path.at(-1)!)}${optional ? "?" : ""}: ${typeName(path.at(-1)!)};`;
      });
  const type = (words: string, name: string, section: readonly string[]) =>
    `/** ${words} */\nexport interface ${name} {\n${[...members(section), ...within(section)].join("\n")}\n}\n`;
  return [
    "// Generated from the schema in config-schema.ts: npx vitest run src/cli/reference.test.ts -u",
    `import type { TrainInput } from ${JSON.stringify(SCHEMA)};`,
    "",
    "type Section<K extends keyof TrainInput> = NonNullable<TrainInput[K]>;",
    "",
    type("What a run is told: the config's keys in camelCase.", "TrainOptions", []),
    ...sections.map(({ path }) => type(`\`${path.join(".")}\` of the config.`, typeName(path.at(-1)!), path)),
  ].join("\n");
}

/** Every section of the config, those inside others behind them. */
function sectionsUnder(outer: readonly string[], { shape }: z.ZodObject): { path: string[]; schema: z.ZodType }[] {
  return Object.entries(shape).flatMap(([name, schema]) => {
    const [path, section] = [[...outer, name], sectionOf(schema)];
    return section ? [{ path, schema: schema as z.ZodType }, ...sectionsUnder(path, section)] : [];
  });
}

/** The type of what a section may be given. */
const inputOf = ([first, ...inner]: readonly string[]): string =>
  inner.reduce(
    (outer, name) => `NonNullable<${outer}["${camelCase(name)}"]>`,
    first ? `Section<"${first}">` : "TrainInput",
  );

/** Beside the file that is written, not beside this one. */
const SCHEMA = "./config-schema.js";

const typeName = (section: string): string => {
  const name = camelCase(section);
  return `${name[0]!.toUpperCase()}${name.slice(1)}Options`;
};

/** Words above a member, in lines that stay under 120 characters. */
function comment(words: string): string {
  const lines = words
    .replaceAll("*/", "* /")
    .match(/.{1,108}(?:\s|$)/g)!
    .map((line) => line.trim());
  return lines.length === 1
    ? `  /** ${lines[0]} */`
    : `  /**\n${lines.map((line) => `   * ${line}`).join("\n")}\n   */`;
}

/** docs/cli.md: every verb, from the table of commands. */
export async function cliReference(): Promise<string> {
  const verbs = COMMANDS.map(async ({ name, summary, description, args = [], options, table, examples }) => [
    `## lowrank ${name}`,
    "",
    `${sentence(summary)}${description ? ` ${description}` : ""}`,
    "",
    "```sh",
    ...examples,
    "```",
    "",
    ...(args.length + options.length > 0 ? ["| argument | meaning | default |", "| --- | --- | --- |"] : []),
    ...args.map(([argument, meaning]) => `| \`${cell(argument)}\` | ${cell(meaning)} | |`),
    ...options.map(
      ({ flags, description: meaning, required, fallback }) =>
        `| \`${cell(flags)}\` | ${cell(meaning)} | ${required ? "required" : fallback === undefined ? "" : `\`${fallback}\``} |`,
    ),
    "",
    ...(table ? [markdownTable(await table()), ""] : []),
  ]);
  const codes = {
    [EXIT.ok]: "done, or nobody reads on",
    [EXIT.failed]: "a mistake that the message says how to mend; nothing half-written is left behind",
    [EXIT.usage]: "the command line itself is wrong",
    [EXIT.internal]: "a bug in lowrank; LOWRANK_DEBUG=1 prints where",
    [EXIT.again]: "a rank of several was lost, or memory was refused: starting again may help (docs/distributed.md)",
    [EXIT.interrupted]: "interrupted by Ctrl-C, SIGTERM or SIGHUP; a training run has written a checkpoint",
  };
  return [
    "# Command line",
    "",
    "Generated from the tables in `src/cli/commands/`. From a clone, `node bin/lowrank.js <verb>` does the same as `lowrank <verb>`.",
    "Results go to standard output, progress and messages to standard error. `lowrank help VERB` shows a verb's options;",
    "`lowrank completion bash` (zsh, fish) prints a script that completes verbs, options and config keys.",
    "",
    'Values are taken as they are typed: `--output "run #2"` is a folder of that name. `~` at the beginning of a path is the home',
    "folder, also in `--output=~/x` and `output_dir=~/x`. An output folder is new, empty, or one of lowrank's own (a file `.lowrank`",
    "in it says so): nothing else is overwritten, and nothing that lowrank did not write is removed.",
    "",
    "A verb that does nothing but print ends, with 0, when nobody reads on (`| head`); training, serving and all that writes files",
    "goes on without its output. SIGTERM and SIGHUP count as Ctrl-C. Control characters in names and messages are printed as",
    "`\\u001b`; a model's answer goes into files and pipes as it is, and only on a terminal are they made visible in it.",
    "",
    "| exit code | meaning |",
    "| --- | --- |",
    ...Object.entries(codes).map(([code, meaning]) => `| ${code} | ${meaning} |`),
    "",
    ...(await Promise.all(verbs)).flat(),
  ].join("\n");
}

/** A help table as a page has it: what the first column says is code. */
export function markdownTable({ headings, rows }: HelpTable): string {
  const line = (cells: readonly string[]) => `| ${cells.map(cell).join(" | ")} |`;
  const code = (texts: readonly string[]) => texts.map((text, i) => (i === 0 ? `\`${text}\`` : text));
  return [line(headings), line(headings.map(() => "---")), ...rows.map((row) => line(code(row)))].join("\n");
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}

function sentence(text: string): string {
  return `${text[0]!.toUpperCase()}${text.slice(1)}.`;
}
