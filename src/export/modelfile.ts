import type { ChatTemplate, Message } from "../tokenizers/chat-template.js";
import type { Tokenizer } from "../tokenizers/tokenizer.js";

/** How a chat template writes a conversation, when that is one turn after another. */
interface TurnFormat {
  readonly turns: Readonly<Record<string, readonly [before: string, after: string]>>;
  /** Written before an answer. */
  readonly answer: string;
  /** The system message that the template writes where none is given. */
  readonly system?: string;
}

/**
 * An Ollama Modelfile for a GGUF. Ollama does not run Jinja: its own TEMPLATE is written here when the chat template proves
 * to write turn after turn; otherwise a comment says that Ollama will guess.
 */
export async function modelfile(
  from: string,
  chat: ChatTemplate | undefined,
  tokenizer: Tokenizer,
  stops: ReadonlySet<number>,
): Promise<string> {
  const lines = [`FROM ./${from}`];
  const format = chat ? await turnFormat(chat, tokenizer) : undefined;
  if (format) {
    lines.push(`TEMPLATE """${goTemplate(format)}"""`);
    if (format.system !== undefined) lines.push(`SYSTEM """${format.system}"""`);
  } else if (chat) {
    lines.push(
      "# The chat template in the GGUF does not write turn after turn, so it has no TEMPLATE here: Ollama will",
    );
    lines.push(
      "# take the one of its own that looks most like it. Compare its prompts, or serve with llama.cpp --jinja.",
    );
  } else {
    lines.push('TEMPLATE """{{ .Prompt }}"""');
  }
  for (const id of stops) {
    const token = tokenizer.token(id);
    if (token !== undefined && chat) lines.push(`PARAMETER stop ${JSON.stringify(token)}`);
  }
  return `${lines.join("\n")}\n`;
}

const say = (role: string, content: string): Message => ({ role, content });

/**
 * What a template puts around each role's text, tried on other conversations; undefined when it does not hold there or the
 * pieces could be mistaken for Go's template syntax.
 */
async function turnFormat(chat: ChatTemplate, tokenizer: Tokenizer): Promise<TurnFormat | undefined> {
  try {
    return await probe(chat, tokenizer);
  } catch {
    return undefined; // a template that refuses a probe does not write turn after turn
  }
}

async function probe(chat: ChatTemplate, tokenizer: Tokenizer): Promise<TurnFormat | undefined> {
  const bos = tokenizer.bosToken;
  const render = async (messages: readonly Message[], addGenerationPrompt = false) => {
    const text = await chat.render(messages, { addGenerationPrompt });
    return tokenizer.addsBos && bos !== undefined && text.startsWith(bos) ? text.slice(bos.length) : text;
  };
  const four = [say("system", "Sys0"), say("user", "Use1"), say("assistant", "Ans2"), say("user", "Use3")];
  const prefix = async (n: number) => render(four.slice(0, n));
  const [s, su, sua] = [await prefix(1), await prefix(2), await prefix(3)];
  if (!su.startsWith(s) || !sua.startsWith(su)) return undefined;
  const pieces = {
    system: around(s, "Sys0"),
    user: around(su.slice(s.length), "Use1"),
    assistant: around(sua.slice(su.length), "Ans2"),
  };
  if (!pieces.system || !pieces.user || !pieces.assistant) return undefined;
  const answer = (await render(four.slice(0, 2), true)).slice(su.length);
  const alone = await render([say("user", "Use1")]);
  const own = pieces.user.join("Use1");
  const head = alone.endsWith(own) ? alone.slice(0, alone.length - own.length) : undefined;
  const system = head === undefined ? undefined : head === "" ? "" : between(head, pieces.system);
  if (system === undefined) return undefined;
  const format = { turns: pieces as TurnFormat["turns"], answer, ...(system === "" ? {} : { system }) };
  const sound = await agrees(format, render, four);
  const written = [...Object.values(format.turns).flat(), answer, system].join("\n");
  return sound && !/\{\{|\}\}|"""/.test(written) ? format : undefined;
}

async function agrees(
  format: TurnFormat,
  render: (messages: readonly Message[], add: boolean) => Promise<string>,
  probes: readonly Message[],
): Promise<boolean> {
  const other = [say("user", "One?"), say("assistant", "Two."), say("user", "Three:\n 4"), say("assistant", "5")];
  for (const messages of [probes, other, other.slice(0, 3), [say("system", "Be brief"), ...other]]) {
    const filled =
      messages[0]!.role === "system" || format.system === undefined
        ? messages
        : [say("system", format.system), ...messages];
    const text = filled.map(({ role, content }) => format.turns[role]!.join(content!)).join("");
    if ((await render(messages, false)) !== text) return false;
    if (messages.at(-1)!.role === "user" && (await render(messages, true)) !== text + format.answer) return false;
  }
  return true;
}

function around(text: string, content: string): [string, string] | undefined {
  const at = text.indexOf(content);
  return at < 0 ? undefined : [text.slice(0, at), text.slice(at + content.length)];
}

function between(text: string, [before, after]: readonly [string, string]): string | undefined {
  if (!text.startsWith(before) || !text.endsWith(after)) return undefined;
  return text.slice(before.length, text.length - after.length);
}

/** Go's `{{-` would eat the line break before it, so no tag has a dash. */
function goTemplate({ turns, answer }: TurnFormat): string {
  const branch = (role: string, i: number) => {
    const [before, after] = turns[role]!;
    return `{{ ${i === 0 ? "if" : "else if"} eq .Role ${JSON.stringify(role)} }}${before}{{ .Content }}${after}`;
  };
  const branches = ["system", "user", "assistant"].map(branch).join("");
  return `{{ range .Messages }}${branches}{{ end }}{{ end }}${answer}`;
}
