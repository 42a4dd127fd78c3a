import { configKeys } from "../recipes/config-schema.js";
import { COMMANDS } from "./commands.js";
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
    "(`lora:` and below it `r: 8`). On the command line any key can be set as `key=value` (`lora.r=16`), in TypeScript the keys",
    "are camelCase (`lora: { targetModules: [...] }`). Paths are relative to the working directory. `lowrank validate FILE`",
    "reports every problem at once.",
    "",
    "| key | type | default | meaning |",
    "| --- | --- | --- | --- |",
    ...rows,
    "",
  ].join("\n");
}

/** docs/cli.md: every verb, from the table of commands. */
export function cliReference(): string {
  const verbs = COMMANDS.flatMap(({ name, summary, description, args = [], options, examples }) => [
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
  ]);
  const codes = {
    [EXIT.ok]: "done",
    [EXIT.failed]: "a mistake that the message says how to mend; nothing half-written is left behind",
    [EXIT.usage]: "the command line itself is wrong",
    [EXIT.internal]: "a bug in lowrank; LOWRANK_DEBUG=1 prints where",
    [EXIT.interrupted]: "interrupted by Ctrl-C; a training run has written a checkpoint",
  };
  return [
    "# Command line",
    "",
    "Generated from the table in `src/cli/commands.ts`. From a clone, `node bin/lowrank.js <verb>` does the same as `lowrank <verb>`.",
    "Results go to standard output, progress and messages to standard error.",
    "",
    "| exit code | meaning |",
    "| --- | --- |",
    ...Object.entries(codes).map(([code, meaning]) => `| ${code} | ${meaning} |`),
    "",
    ...verbs,
  ].join("\n");
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}

function sentence(text: string): string {
  return `${text[0]!.toUpperCase()}${text.slice(1)}.`;
}
