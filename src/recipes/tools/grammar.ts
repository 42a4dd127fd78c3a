import type { CallSyntax, Grammars, Term, Written } from "../../generation/grammar/index.js";
import type { Tokenizer } from "../../tokenizers/tokenizer.js";
import type { ToolFormat } from "../../tokenizers/tools/index.js";
import type { CallableTool, ToolCalling } from "./calling.js";
import { marksById } from "./marks.js";

const syntaxes = new WeakMap<Tokenizer, Map<ToolFormat, CallSyntax>>();

/**
 * The texts that an answer with tools may be. Arguments fit their schema where a call is asked for and where the tool is strict; with
 * `auto` they are any JSON object otherwise. `text`: what an answer without calls has to be. Throws UserError for a schema that
 * cannot be held.
 */
export function callingTerm(
  own: Grammars,
  tokenizer: Tokenizer,
  { tools, choice, parallel }: ToolCalling,
  format: ToolFormat,
  text: Term | undefined,
): Term {
  const syntax = syntaxOf(tokenizer, format);
  const wanted = typeof choice === "object" ? tools.filter(({ name }) => name === choice.name) : tools;
  const callees = wanted.map((tool) => ({
    name: tool.name,
    arguments:
      choice !== "auto" || tool.strict ? own.jsonSchema(schemaOf(tool), whereOf(tool, tools)) : own.jsonObject(),
  }));
  const calls = own.calls(syntax, callees, parallel && typeof choice === "string");
  if (choice !== "auto") return calls;
  return text ? own.terms.alt(text, calls) : own.wordsOrCalls(syntax, calls);
}

const whereOf = (tool: CallableTool, tools: readonly CallableTool[]): string =>
  `tools[${tools.indexOf(tool)}].function.parameters`;

/** Arguments are an object, whether the schema says so or not; without a schema there are none. */
function schemaOf({ parameters }: CallableTool): unknown {
  if (!parameters) return { type: "object", properties: {} };
  return Object.keys(parameters).some((key) => SHAPES.has(key)) ? parameters : { ...parameters, type: "object" };
}

/** Keywords that say themselves what a value is. */
const SHAPES: ReadonlySet<string> = new Set(["type", "$ref", "anyOf", "oneOf", "allOf", "const", "enum"]);

/** A format's texts for a tokenizer: which of its marks are tokens. */
function syntaxOf(tokenizer: Tokenizer, format: ToolFormat): CallSyntax {
  let own = syntaxes.get(tokenizer);
  if (!own) syntaxes.set(tokenizer, (own = new Map()));
  let syntax = own.get(format);
  if (!syntax) own.set(format, (syntax = makeSyntax(tokenizer, format)));
  return syntax;
}

function makeSyntax(tokenizer: Tokenizer, format: ToolFormat): CallSyntax {
  const { opens, bare, layout } = format;
  const marks = [...marksById(tokenizer, format)];
  const written = (text: string): Written => {
    const found = marks.map(([id, mark]) => ({ mark, id, at: text.indexOf(mark) })).filter(({ at }) => at >= 0);
    const [first] = found.sort((a, b) => a.at - b.at);
    if (!first) return text === "" ? [] : [text];
    const before = text.slice(0, first.at);
    return [...(before === "" ? [] : [before]), first.id, ...written(text.slice(first.at + first.mark.length))];
  };
  const [beforeName, beforeArguments, after] = layout.call;
  return {
    begin: written(layout.begin),
    call: [written(beforeName), written(beforeArguments), written(after)],
    between: layout.between === undefined ? undefined : written(layout.between),
    end: written(layout.end),
    opens: opens.map((text) => marks.find(([, mark]) => mark === text)?.[0] ?? text),
    bare: bare === undefined ? undefined : [bare],
  };
}
