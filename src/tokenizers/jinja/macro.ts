import { type Context, inner } from "./context.js";
import { compileExpression, type Evaluate } from "./expressions.js";
import { type Frame, runFunction } from "./frame.js";
import type { Signature, Statement } from "./nodes.js";
import { FunctionScope, type Slot, undeclared } from "./symbols.js";
import { Callable, Dict, type Kwargs, Tuple, Undefined } from "./values.js";
import { TemplateError } from "./work.js";

/** A macro, or the body of a call block. */
export class Macro extends Callable {
  override readonly type = "Macro";
  readonly #attributes: Readonly<Record<string, unknown>>;
  constructor(name: string | undefined, attributes: Readonly<Record<string, unknown>>, call: Callable["call"]) {
    super(name ?? "anonymous", call);
    this.#attributes = attributes;
  }
  override attribute(name: string): unknown {
    return Object.hasOwn(this.#attributes, name) ? this.#attributes[name] : undefined;
  }
  override print(): string {
    return this.name === "anonymous" ? "<Macro anonymous>" : `<Macro '${this.name}'>`;
  }
}

interface MacroSource extends Signature {
  readonly body: readonly Statement[];
  readonly line: number;
}

/** What a macro takes beside its parameters, because its body reads it. */
interface Special {
  readonly caller: Slot | undefined;
  readonly kwargs: Slot | undefined;
  readonly varargs: Slot | undefined;
  readonly readsCaller: boolean;
}

/** Compiles a macro into what makes it, where its definition runs. */
export function compileMacro(source: MacroSource, name: string | undefined, outer: Context): (frame: Frame) => Macro {
  const scope = new FunctionScope(outer.symbols.scope);
  const { parameters, defaults, body } = source;
  let special!: Special;
  const own = inner(
    { ...outer, loop: false },
    (symbols) => {
      for (const parameter of parameters) symbols.declare(parameter);
      for (const value of defaults) symbols.expression(value);
      symbols.statements(body);
      special = declareSpecial(source, (extra) => symbols.declare(extra));
    },
    scope,
  );
  const { symbols } = own.context;
  const slots = parameters.map((parameter) => symbols.ref(parameter));
  const place = { symbols, soft: false };
  const fallbacks: (Evaluate | undefined)[] = parameters.map((_, i) => {
    const value = defaults[i - parameters.length + defaults.length];
    return value && compileExpression(value, place);
  });
  const run = own.context.compile(body, own.context);
  const invoke = (frame: Frame, args: readonly unknown[], kwargs: Kwargs) => {
    own.enter(frame);
    takeArguments(frame, name, { parameters, slots, special }, args, kwargs);
    slots.forEach(({ index }, i) => {
      if (frame.vars[index] !== undefined) return;
      const fallback = fallbacks[i];
      const missing = () => new Undefined(`parameter '${parameters[i]}' was not provided`);
      frame.vars[index] = fallback ? fallback(frame) : missing();
    });
    run(frame);
  };
  const attributes = {
    name: name ?? null,
    arguments: new Tuple(parameters),
    catch_kwargs: special.kwargs !== undefined,
    catch_varargs: special.varargs !== undefined,
    caller: special.readsCaller,
    explicit_caller: parameters.includes("caller"),
  };
  return (defined) =>
    new Macro(name, attributes, (args, kwargs) => runFunction(defined, (frame) => void invoke(frame, args, kwargs)));
}

function declareSpecial({ parameters, defaults, body }: MacroSource, declare: (name: string) => Slot): Special {
  const read = undeclared(body, ["caller", "kwargs", "varargs"]);
  const explicit = parameters.indexOf("caller");
  if (read.has("caller") && explicit >= 0 && parameters.length - explicit > defaults.length) {
    throw new TemplateError('the special "caller" argument must be omitted or be given a default');
  }
  const extra = (name: string) => (read.has(name) && !parameters.includes(name) ? declare(name) : undefined);
  return {
    caller: extra("caller"),
    kwargs: extra("kwargs"),
    varargs: extra("varargs"),
    readsCaller: read.has("caller"),
  };
}

interface Parameters {
  readonly parameters: readonly string[];
  readonly slots: readonly Slot[];
  readonly special: Special;
}

/** Puts the arguments of a call where the macro reads them. */
function takeArguments(
  frame: Frame,
  name: string | undefined,
  { parameters, slots, special }: Parameters,
  args: readonly unknown[],
  kwargs: Kwargs,
): void {
  const left = new Map(kwargs);
  slots.forEach(({ index }, i) => {
    frame.vars[index] = i < args.length ? args[i] : left.get(parameters[i]!);
    if (i >= args.length) left.delete(parameters[i]!);
  });
  if (special.caller) {
    frame.vars[special.caller.index] = left.get("caller") ?? new Undefined("No caller defined");
    left.delete("caller");
  }
  if (special.kwargs) frame.vars[special.kwargs.index] = new Dict(left);
  else if (left.size > 0) {
    const [unexpected] = left.keys();
    throw new TemplateError(`macro '${name}' takes no keyword argument '${unexpected}'`);
  }
  if (special.varargs) frame.vars[special.varargs.index] = new Tuple(args.slice(parameters.length));
  else if (args.length > parameters.length) {
    throw new TemplateError(`macro '${name}' takes not more than ${parameters.length} argument(s)`);
  }
}
