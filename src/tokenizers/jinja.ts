import { Environment, Interpreter, parse, tokenize } from "@huggingface/jinja";

/** Variables of a chat template: `messages`, `add_generation_prompt`, `bos_token`, `eos_token`, `tools`, ... */
export type TemplateContext = Readonly<Record<string, unknown>>;

/** One render: its text, or why there is none. */
export type Rendered = { readonly text: string } | { readonly error: string };

/** Longest text a render may give, in characters. */
export const longestRender = 1 << 24;

/** The variables written where `{% generation %}` and `{% endgeneration %}` stand; undefined variables write nothing. */
export const generationMarks = { start: "generation_start_mark", end: "generation_end_mark" } as const;

/**
 * Compiles a chat template as transformers does (trim_blocks, lstrip_blocks, `raise_exception`, `strftime_now`), with
 * two differences: `strftime_now` reads the clock from the context's `now` (an ISO date), so that the same rows give the
 * same bytes on every day, and the `generation` tag marks its ends. Throws Error for a template that does not parse.
 * It runs in this thread without limits: for templates of unknown origin use a TemplateRunner with limits.
 */
export function compileTemplate(source: string): (context: TemplateContext) => string {
  const program = parse(tokenize(markGeneration(source), { trim_blocks: true, lstrip_blocks: true }));
  return ({ now, ...variables }) => {
    const environment = new Environment();
    for (const [name, value] of Object.entries({ ...globals(String(now ?? defaultNow)), ...variables })) {
      environment.set(name, value);
    }
    const text = (new Interpreter(environment).run(program) as { value: string }).value;
    if (text.length > longestRender) throw new Error(`it writes more than ${longestRender} characters`);
    return text;
  };
}

/** Renders each context; an error of one leaves the others alone. `onEach` hears of every result as it comes. */
export function renderAll(
  source: string,
  contexts: readonly TemplateContext[],
  onEach: (result: Rendered) => void = () => {},
): Rendered[] {
  let render: ((context: TemplateContext) => string) | undefined;
  return contexts.map((context) => {
    const result = attempt(() => (render ??= compileTemplate(source))(context));
    onEach(result);
    return result;
  });
}

function attempt(render: () => string): Rendered {
  try {
    return { text: render() };
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}

/** Llama 3.2's own default date. */
const defaultNow = "2024-07-26";

function globals(now: string) {
  return {
    true: true,
    false: false,
    none: null,
    True: true,
    False: false,
    None: null,
    range,
    raise_exception(message: unknown) {
      throw new Error(String(message));
    },
    strftime_now: (format: string) => strftime(new Date(now), format),
  };
}

function range(start: number, stop?: number, step = 1): number[] {
  if (stop === undefined) [start, stop] = [0, start];
  if (step === 0) throw new Error("range() step must not be zero");
  const count = Math.max(0, Math.ceil((stop - start) / step));
  if (count > 1e6) throw new Error(`range() of ${count} numbers is more than a chat template needs`);
  return Array.from({ length: count }, (_, i) => start + i * step);
}

const months = "January February March April May June July August September October November December".split(" ");
const days = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split(" ");

function strftime(date: Date, format: string): string {
  const two = (n: number) => String(n).padStart(2, "0");
  const fields: Record<string, string> = {
    "%Y": String(date.getUTCFullYear()),
    "%y": two(date.getUTCFullYear() % 100),
    "%m": two(date.getUTCMonth() + 1),
    "%d": two(date.getUTCDate()),
    "%b": months[date.getUTCMonth()]!.slice(0, 3),
    "%B": months[date.getUTCMonth()]!,
    "%a": days[date.getUTCDay()]!.slice(0, 3),
    "%A": days[date.getUTCDay()]!,
    "%H": two(date.getUTCHours()),
    "%M": two(date.getUTCMinutes()),
    "%S": two(date.getUTCSeconds()),
    "%%": "%",
  };
  return format.replace(/%./g, (field) => fields[field] ?? field);
}

/**
 * Writes a mark after each `generation` tag. The engine drops the tags themselves; a newline after a tag and white
 * space beside a `-` vanish as they would without the mark.
 */
function markGeneration(source: string): string {
  return source.replace(/\{%(-?) *(end)?generation *(-?)%\}(\n?)/g, (_, left, end, right, newline) => {
    const tag = `{%${left} ${end ?? ""}generation ${right}%}`;
    return `${tag}{{ ${end ? generationMarks.end : generationMarks.start} ${right}}}${right ? newline : ""}`;
  });
}
