import { Command, CommanderError, Option } from "commander";
import { COMMANDS, type CommandEntry } from "./commands.js";
import { EXIT, type Io, type Options, processIo, withVisibleText } from "./io.js";

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
    const { withPaths } = await import("./paths.js");
    const given = withPaths(entry, args, options);
    if (entry.onlyPrints) sinks.onClosed?.(() => process.exit(outcome(EXIT.ok)));
    const action = await entry.load();
    exitCode = await action(given.args, given.options, io);
  };
  try {
    const words = await withHelpVerb(argv);
    const verb = COMMANDS.find(({ name }) => name === words[0]);
    const says = (...flags: readonly string[]) => words.some((word) => flags.includes(word));
    const table = says("--help", "-h") ? await tableOf(verb, io) : "";
    const version = says("--version", "-V") ? await ownVersion() : "";
    await buildProgram(io, run, { verb, table, version }).parseAsync(words, { from: "user" });
    return outcome(exitCode);
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    const { report } = await import("./failure.js");
    return report(error, io);
  }
}

/** The table below a verb's help; "" for one that has none. */
async function tableOf(verb: CommandEntry | undefined, { columns }: Io): Promise<string> {
  if (!verb?.table) return "";
  const { tableText } = await import("./columns.js");
  return `\n${tableText(await verb.table(), columns)}`;
}

async function ownVersion(): Promise<string> {
  const { PACKAGE, versionIn } = await import("../node/package.js");
  return versionIn(PACKAGE);
}

/** `help` is `--help`, and `help VERB` is `VERB --help`. Throws a usage error for a verb that there is not. */
async function withHelpVerb([first, verb, ...more]: readonly string[]): Promise<string[]> {
  if (first !== "help") return [first, verb, ...more].filter((word) => word !== undefined);
  if (verb === undefined || verb.startsWith("-") || verb === "help") return ["--help"];
  const names = COMMANDS.map(({ name }) => name);
  if (names.includes(verb)) return [verb, "--help"];
  const [{ nearest }, { usageError }] = await Promise.all([import("../tensor/errors.js"), import("./usage.js")]);
  const near = nearest(verb, names);
  throw usageError(`there is no verb '${verb}'${near ? `; did you mean ${near}?` : ""} (lowrank --help lists them)`);
}

type Run = (entry: CommandEntry, args: readonly string[], options: Options) => Promise<void>;

/** The verb that is asked for, and what only some arguments show: the table below its help, this program's version. */
interface Asked {
  readonly verb: CommandEntry | undefined;
  readonly table: string;
  readonly version: string;
}

/** The parser of every verb; `run` is called with what was given. The verb that is asked for alone has its options. */
function buildProgram(io: Io, run: Run, { verb, table, version }: Asked): Command {
  const program = configured(new Command("lowrank"), io)
    .description("LoRA fine-tuning of language models")
    .version(version, "-V, --version", "print the version")
    .helpCommand(false)
    .addHelpText("after", "\nlowrank help <verb> shows a verb's options and examples.");
  for (const entry of COMMANDS) {
    const command = configured(program.command(entry.name), io).summary(entry.summary);
    for (const [name, description] of entry.args ?? []) command.argument(name, description);
    if (entry === verb) describe(command, entry, table).action(() => run(entry, command.args, command.opts()));
  }
  return program;
}

/** Gives a verb its options and help. */
function describe(command: Command, entry: CommandEntry, table: string): Command {
  command.description([entry.summary, entry.description].filter(Boolean).join("\n\n"));
  for (const { flags, description, required, fallback, repeats } of entry.options) {
    const option = new Option(flags, description).default(fallback).makeOptionMandatory(required ?? false);
    if (repeats) option.argParser((value, before: string[] = []) => [...before, value]);
    command.addOption(option);
  }
  if (table) command.addHelpText("after", table);
  return command.addHelpText("after", ["", "Examples:", ...entry.examples.map((line) => `  ${line}`)].join("\n"));
}

function configured(command: Command, io: Io): Command {
  return command.exitOverride().configureOutput({
    writeOut: io.out,
    writeErr: io.err,
    outputError: (text, write) => write(text.replace(/^error/, "lowrank")),
  });
}
