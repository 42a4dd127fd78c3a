import { Lru } from "../tensor/lru.js";
import { entering, Frame, Output, type Render } from "./jinja/frame.js";
import { globalsAt } from "./jinja/globals.js";
import { parse } from "./jinja/parser.js";
import { compileBody } from "./jinja/statements.js";
import { FunctionScope, Symbols } from "./jinja/symbols.js";
import { beginWork, Raised, TemplateError, Unsupported } from "./jinja/work.js";

/** Variables of a chat template: `messages`, `add_generation_prompt`, `bos_token`, `eos_token`, `tools`, ... */
export type TemplateContext = Readonly<Record<string, unknown>>;

/** Characters [start, end) of a text. */
export type Span = readonly [start: number, end: number];

/**
 * One render: its text and what of it is inside `{% generation %}`, or why there is none. `spans` is empty when a macro or
 * a block captured what is inside, so that its place is not known.
 */
export type Rendered = { readonly text: string; readonly spans: readonly Span[] } | { readonly error: string };

/**
 * Compiles a chat template as transformers does: jinja2's sandbox for immutable values with trim_blocks, lstrip_blocks, loop
 * controls, the `generation` tag, `tojson` without HTML, `raise_exception` and `strftime_now`. One thing differs:
 * `strftime_now` reads the clock from the context's `now` (an ISO date), so that the same rows give the same bytes on
 * every day. What jinja2 can do and this cannot is refused by name. Throws TemplateError for a template that does not
 * parse; what it gives throws TemplateError where jinja2 would fail too, and past the bounds on text and work.
 */
function compileTemplate(source: string): (context: TemplateContext) => Exclude<Rendered, { error: string }> {
  beginWork();
  const statements = parse(source);
  const symbols = new Symbols(new FunctionScope());
  symbols.statements(statements);
  const enter = entering(symbols);
  const run = compileBody(statements, { symbols, soft: false, loop: false, compile: compileBody });
  return ({ now, ...variables }) => {
    beginWork();
    const globals = globalsAt(new Date(String(now ?? defaultNow)));
    const resolve = (name: string): unknown => {
      if (Object.hasOwn(variables, name) && variables[name] !== undefined) return variables[name];
      if (name === "self") throw new Unsupported("'self'");
      return Object.hasOwn(globals, name) ? globals[name] : undefined;
    };
    const render: Render = { resolve, spans: [], unlocated: false, line: 1, depth: 0 };
    const out = new Output(true);
    const frame = new Frame(render, out);
    try {
      enter(frame);
      run(frame);
    } catch (error) {
      throw located(error, render.line);
    }
    return { text: out.text(), spans: render.unlocated ? [] : render.spans };
  };
}

/** Llama 3.2's own default date. */
const defaultNow = "2024-07-26";

function located(error: unknown, line: number): unknown {
  if (error instanceof TemplateError) error.line ??= line;
  return error;
}

/** Templates that were compiled last: a run has one or two, a server a few. */
const compiled = new Lru<string, ReturnType<typeof compileTemplate>>(16);

/** Renders each context; an error of one leaves the others alone. `onEach` hears of every result as it comes. */
export function renderAll(
  source: string,
  contexts: readonly TemplateContext[],
  onEach: (result: Rendered) => void = () => {},
): Rendered[] {
  return contexts.map((context) => {
    const result = attempt(() => compiled.get(source, () => compileTemplate(source))(context));
    onEach(result);
    return result;
  });
}

function attempt(render: () => Rendered): Rendered {
  try {
    return render();
  } catch (error) {
    return { error: messageOf(error) };
  }
}

/** What the template's author says stands alone; everything else names the line. */
function messageOf(error: unknown): string {
  if (error instanceof Raised) return error.message;
  if (error instanceof RangeError && /call stack/.test(error.message)) return "it nests or calls itself too deeply";
  if (!(error instanceof Error)) return String(error);
  const line = error instanceof TemplateError ? error.line : undefined;
  return line === undefined ? error.message : `line ${line} of the template: ${error.message}`;
}
