import type { ToolFormat } from "./format.js";

/** Does a template read this name: in a tag, not in a comment, and as text only where it is a key? */
export function readsVariable(template: string, name: string): boolean {
  const tags = template.replace(/\{#[\s\S]*?#\}/g, "").match(/\{[{%][\s\S]*?[}%]\}/g) ?? [];
  const named = new RegExp(`\\b${name}\\b`);
  const key = new RegExp(`[[(]\\s*['"]${name}['"]\\s*[\\])]|['"]${name}['"]\\s+(not\\s+)?in\\b`);
  return tags.some((tag) => key.test(tag) || named.test(tag.replace(/'(\\.|[^'\\])*'|"(\\.|[^"\\])*"/g, "''")));
}

const text = (value: string): string => JSON.stringify(value);

const [BEFORE_TOOLS, AFTER_TOOLS] = ["You can call these functions:\n<tools>\n", "</tools>\n"];

/** How the model is told to write a call, with words where name and arguments go. */
function instruction({ layout: { begin, call, end } }: ToolFormat): string {
  const [beforeName, beforeArguments, after] = call;
  const example = `${begin}${beforeName}NAME${beforeArguments}ARGUMENTS${after}${end}`;
  return `To call one, answer with its name and a JSON object of its arguments:\n${example}`;
}

/** Statements that put calls, as text, into what the assistant says. `said` collects the messages. */
function assistantTurn({ layout: { begin, call, between = "\n", end } }: ToolFormat): string {
  const [beforeName, beforeArguments, after] = call.map(text);
  return [
    '{%- if message.role == "assistant" and message.tool_calls %}',
    `{%- set lr.calls = (message.content ~ "\\n" if message.content else "") ~ ${text(begin)} %}`,
    "{%- for call in message.tool_calls %}{%- set called = call.function or call %}",
    `{%- set lr.calls = lr.calls ~ ("" if loop.first else ${text(between)}) ~ ${beforeName} ~ called.name ~ ${beforeArguments}`,
    ` ~ (called.arguments if called.arguments is string else called.arguments | tojson) ~ ${after} %}{%- endfor %}`,
    `{%- set lr.said = lr.said + [dict(message, content=lr.calls ~ ${text(end)})] %}`,
  ].join("");
}

/**
 * A template before which calls are written into what the assistant says. The head is part of the template, so that whatever else
 * is done with templates is done with this one too.
 */
export function withCalls(template: string, format: ToolFormat): string {
  const head = [
    "{%- set lr = namespace(said=[], calls='') %}{%- for message in messages %}",
    assistantTurn(format),
    "{%- else %}{%- set lr.said = lr.said + [message] %}{%- endif %}{%- endfor %}",
    "{%- set messages = lr.said %}",
  ];
  return `${head.join("")}\n${template}`;
}

/** Statements that put results of tools, those of neighbouring messages together, into a turn of the user. */
const RESULTS = [
  '{%- if message.role == "tool" %}',
  '{%- set lr.results = (lr.results ~ "\\n" if lr.results else "") ~ "<tool_response>\\n" ~ message.content ~ "\\n</tool_response>" %}',
  "{%- endif %}",
  '{%- if lr.results and (message.role != "tool" or loop.last) %}',
  '{%- set lr.said = lr.said + [dict(role="user", content=lr.results)] %}{%- set lr.results = none %}{%- endif %}',
].join("");

/**
 * A template that shows no tools, with a head that puts them into the system message, or into the first one of the user where the
 * template refuses the former; and, unless the template `writes` them, calls into what the assistant says, and results into a turn of
 * the user.
 */
export function withTools(template: string, format: ToolFormat, writes: boolean): string {
  const refusesSystem = /raise_exception\(\s*['"][^'"]*system/i.test(template);
  const first = refusesSystem ? '["user"]' : '["system", "developer"]';
  const shown = refusesSystem
    ? 'lr.shown ~ "\\n\\n" ~ messages[0].content'
    : '(messages[0].content ~ "\\n\\n" if messages[0].content else "") ~ lr.shown';
  const own = refusesSystem ? "" : '{%- else %}{%- set lr.said = [dict(role="system", content=lr.shown)] %}';
  const head = [
    "{%- set lr = namespace(said=[], calls='', shown='', first=none, results=none) %}",
    `{%- if tools %}{%- set lr.shown = ${text(BEFORE_TOOLS)} %}`,
    '{%- for tool in tools %}{%- set lr.shown = lr.shown ~ tool | tojson ~ "\\n" %}{%- endfor %}',
    `{%- set lr.shown = lr.shown ~ ${text(AFTER_TOOLS + instruction(format))} %}`,
    `{%- if messages and messages[0].role in ${first} %}{%- set lr.first = dict(messages[0], content=${shown}) %}`,
    `${own}{%- endif %}{%- endif %}`,
    "{%- for message in messages %}",
    writes ? "" : RESULTS,
    "{%- if loop.first and lr.first %}{%- set lr.said = lr.said + [lr.first] %}",
    writes ? "" : assistantTurn(format).replace("{%- if ", "{%- elif "),
    `{%- elif ${writes ? "true" : 'message.role != "tool"'} %}{%- set lr.said = lr.said + [message] %}{%- endif %}`,
    "{%- endfor %}{%- set messages = lr.said %}",
  ];
  return `${head.join("")}\n${template}`;
}
