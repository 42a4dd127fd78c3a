import { configKeys } from "../recipes/config-keys.js";
import { COMMANDS, type CommandEntry } from "./commands.js";
import { type Action, EXIT, exactOut } from "./io.js";
import { choiceArgument } from "./usage.js";

/** Shells that a script of completions can be written for. */
const SHELLS = { bash, zsh, fish } as const;

export const completion: Action = async ([shell], _options, io) => {
  const name = choiceArgument("shell", shell!, Object.keys(SHELLS) as (keyof typeof SHELLS)[]);
  exactOut(io)(SHELLS[name]());
  return EXIT.ok;
};

/** The long flags of a verb with what they mean, and whether a value follows. */
function flagsOf({ options }: CommandEntry): { flag: string; description: string; valued: boolean }[] {
  const own = options.map(({ flags, description }) => ({
    flag: /--[\w-]+/.exec(flags)![0],
    description,
    valued: flags.includes("<"),
  }));
  return [...own, { flag: "--help", description: "show options and examples", valued: false }];
}

/** What may stand beside a verb's flags: config keys, verbs, shells. Files may stand everywhere. */
function wordsOf({ name, args = [] }: CommandEntry): string[] {
  if (name === "completion") return Object.keys(SHELLS);
  return args.some(([argument]) => argument === "[overrides...]") ? configKeys().map(({ key }) => `${key}=`) : [];
}

const VERBS = [
  ...COMMANDS.map(({ name, summary }) => ({ name, summary })),
  { name: "help", summary: "help of a verb" },
];
const verbs = VERBS.map(({ name }) => name).join(" ");

function bash(): string {
  const cases = COMMANDS.map((entry) => {
    const flags = flagsOf(entry).map(({ flag }) => flag);
    return `    ${entry.name}) flags="${flags.join(" ")}"; words="${wordsOf(entry).join(" ")}" ;;`;
  });
  return `# lowrank completion bash: put  source <(lowrank completion bash)  into ~/.bashrc
_lowrank() {
  local current=\${COMP_WORDS[COMP_CWORD]} flags="" words=""
  COMPREPLY=()
  if (( COMP_CWORD == 1 )); then
    COMPREPLY=( $(compgen -W "${verbs}" -- "$current") )
    return
  fi
  case \${COMP_WORDS[1]} in
    help) words="${verbs}" ;;
${cases.join("\n")}
  esac
  if [[ $current == -* ]]; then
    COMPREPLY=( $(compgen -W "$flags" -- "$current") )
  elif [[ -n $words && $current != = && \${COMP_WORDS[COMP_CWORD-1]} != --* && \${COMP_WORDS[COMP_CWORD-1]} != = ]]; then
    COMPREPLY=( $(compgen -W "$words" -- "$current") )
    [[ \${COMPREPLY[0]} == *= ]] && compopt -o nospace 2> /dev/null
  fi
  return 0
}
complete -o default -F _lowrank lowrank
`;
}

/** Text between single quotes, as bash and zsh read it. */
const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

function zsh(): string {
  const described = (name: string, text: string) =>
    quoted(`${name.replaceAll(":", "\\:")}:${text.replaceAll(":", "\\:")}`);
  const cases = COMMANDS.map((entry) => {
    const flags = flagsOf(entry).map(({ flag, description }) => described(flag, description));
    const words = wordsOf(entry).map(quoted);
    return `    ${entry.name}) flags=(${flags.join(" ")}); words_here=(${words.join(" ")}) ;;`;
  });
  return `#compdef lowrank
# lowrank completion zsh: put  source <(lowrank completion zsh)  into ~/.zshrc, after compinit
_lowrank() {
  local -a verbs flags words_here
  verbs=(${VERBS.map(({ name, summary }) => described(name, summary)).join(" ")})
  if (( CURRENT == 2 )); then
    _describe 'verb' verbs
    return
  fi
  case $words[2] in
    help) _describe 'verb' verbs; return ;;
${cases.join("\n")}
  esac
  if [[ $PREFIX == -* ]]; then
    _describe 'option' flags
  else
    (( $#words_here )) && compadd -S '' -- $words_here
    _files
  fi
}
compdef _lowrank lowrank
`;
}

function fish(): string {
  const single = (text: string) => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const lines = VERBS.map(
    ({ name, summary }) => `complete -c lowrank -n __fish_use_subcommand -f -a ${name} -d ${single(summary)}`,
  );
  const ofVerb = COMMANDS.flatMap((entry) => {
    const when = `complete -c lowrank -n '__fish_seen_subcommand_from ${entry.name}'`;
    const words = wordsOf(entry);
    return [
      ...flagsOf(entry).map(
        ({ flag, description, valued }) =>
          `${when} -l ${flag.slice(2)}${valued ? " -r" : ""} -d ${single(description)}`,
      ),
      ...(words.length > 0 ? [`${when} -a ${single(words.join(" "))}`] : []),
    ];
  });
  return [
    "# lowrank completion fish: lowrank completion fish > ~/.config/fish/completions/lowrank.fish",
    ...lines,
    `complete -c lowrank -n '__fish_seen_subcommand_from help' -f -a ${single(verbs)}`,
    ...ofVerb,
    "",
  ].join("\n");
}
