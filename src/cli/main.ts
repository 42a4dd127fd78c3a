import { Command, CommanderError, Option } from "commander";
import { PACKAGE, versionIn } from "../node/package.js";
import { nearest } from "../tensor/errors.js";
import { tableText } from "./columns.js";
import { COMMANDS, type CommandEntry, type HelpTable } from "./commands.js";
import { report } from "./failure.js";
import { EXIT, type Io, type Options, processIo, withVisibleText } from "./io.js";
import { withPaths } from "./paths.js";
import { usageError } from "./usage.js";

/**
 * Runs the command line and resolves to its exit code: 0 done, 1 failed, 2 wrong usage, 70 a bug, 75 try again, 130 interrupted.
 * A verb that does nothing but print ends, quietly, when nobody reads on; any other goes on. */
export async function main(argv: readonly string[], sinks: Io = processIo()): Promise<number> {
  const io = withVisibleText(sinks);
  let exitCode: number = EXIT.ok;
  const outcome = (code: number): number => {
    const lost = code === EXIT.ok ? sinks.lost?.() : undefined;
    if (lost) io.err(`lowrank: standard output: ${lost}; what was printed is not whole\n`);
    return lost ? EXIT.failed : code;
  };
  const run: Run = async (entry, args, options) => {
    const given = withPaths(entry, args, options);
    if (entry.onlyPrints) sinks.onClosed?.(() => process.exit(outcome(EXIT.ok)));
    const action = await entry.load();
    exitCode = await action(given.args, given.options, io);
  };
  try {
    const words = withHelpVerb(argv);
    const asked = COMMANDS.find(
      ({ name }) => name === words[0] && words.some((word) => word === "--help" || word === "-h"),
    );
    await buildProgram(io, run, await asked?.table?.()).parseAsync(words, { from: "user" });
    return outcome(exitCode);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    return report(error, io);
  }
}

/** `help` is `--help`, and `help VERB` is `VERB --help`. Throws a usage error for a verb that there is not. */
function withHelpVerb([first, verb, ...more]: readonly string[]): string[] {
  if (first !== "help") return [first, verb, ...more].filter((word) => word !== undefined);
  if (verb === undefined || verb.startsWith("-") || verb === "help") return ["--help"];
  const names = COMMANDS.map(({ name }) => name);
  if (names.includes(verb)) return [verb, "--help"];
  const near = nearest(verb, names);
  throw usageError(`there is no verb '${verb}'${near ? `; did you mean ${near}?` : ""} (lowrank --help lists them)`);
}

type Run = (entry: CommandEntry, args: readonly string[], options: Options) => Promise<void>;

/** The parser of every verb; `run` is called with what was given, `table` is shown by the one verb whose help is asked for. */
function buildProgram(io: Io, run: Run, table: HelpTable | undefined): Command {
  const program = configured(new Command("lowrank"), io)
    .description("LoRA fine-tuning of language models")
    .version(versionIn(PACKAGE), "-V, --version", "print the version")
    .helpCommand(false)
    .addHelpText("after", "\nlowrank help <verb> shows a verb's options and examples.");
  for (const entry of COMMANDS) addCommand(program, entry, io, run, table);
  return program;
}

function addCommand(program: Command, entry: CommandEntry, io: Io, run: Run, table: HelpTable | undefined): void {
  const command = configured(program.command(entry.name), io).summary(entry.summary);
  command.description([entry.summary, entry.description].filter(Boolean).join("\n\n"));
  for (const [name, description] of entry.args ?? []) command.argument(name, description);
  for (const { flags, description, required, fallback, repeats } of entry.options) {
    const option = new Option(flags, description).default(fallback).makeOptionMandatory(required ?? false);
    if (repeats) option.argParser((value, before: string[] = []) => [...before, value]);
    command.addOption(option);
  }
  if (table && entry.table) command.addHelpText("after", `\n${tableText(table, io.columns)}`);
  command.addHelpText("after", ["", "Examples:", ...entry.examples.map((line) => `  ${line}`)].join("\n"));
  command.action(() => run(entry, command.args, command.opts()));
}

function configured(command: Command, io: Io): Command {
  return command.exitOverride().configureOutput({
    writeOut: io.out,
    writeErr: io.err,
    outputError: (text, write) => write(text.replace(/^error/, "lowrank")),
  });
}
