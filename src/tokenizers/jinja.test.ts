import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { renderAll, type TemplateContext } from "./jinja.js";
import { parseJson } from "./json.js";
import { unsent } from "./transport.js";

type Expected = { readonly text: string } | { readonly raised: string } | { readonly error: string };

interface Vectors {
  readonly variables: string;
  readonly table: readonly (readonly [template: string, result: Expected])[];
  readonly tokens: TemplateContext;
  readonly chats: string;
  readonly families: readonly { name: string; template: string; renders: readonly Expected[] }[];
}

const file = new URL("../../test/reference/vectors/jinja.json", import.meta.url);
const vectors: Vectors = JSON.parse(readFileSync(file, "utf8"));

/** What jinja2 gives, or that it is refused by name: never another text. */
function check(template: string, context: TemplateContext, expected: Expected): "same" | "refused" {
  const [result] = renderAll(template, [context]);
  if ("error" in result! && / is not supported in chat templates here$/.test(result.error)) return "refused";
  if ("text" in expected) expect(result, template).toMatchObject({ text: expected.text });
  else if ("raised" in expected) expect(result, template).toEqual({ error: expected.raised });
  else expect(result, template).toEqual({ error: expect.stringMatching(/./) });
  return "same";
}

describe("jinja", () => {
  it("gives what jinja2 gives, for a table of expressions and statements", () => {
    const [variables] = unsent([parseJson(vectors.variables) as TemplateContext]) as [TemplateContext];
    const refused = vectors.table.filter(([template, expected]) => check(template, variables, expected) === "refused");
    // those that jinja2 renders: what they need is not here, and said so
    expect(refused.filter(([, expected]) => "text" in expected).map(([template]) => template)).toMatchSnapshot();
  });

  it.each(vectors.families)("writes conversations as transformers does: $name", ({ template, renders }) => {
    const chats = parseJson(vectors.chats) as { messages: TemplateContext[]; tools?: unknown }[];
    const requests = chats.flatMap(({ messages, tools = null }) =>
      [false, true].map((add_generation_prompt) => ({ messages: messages.map(alias), tools, add_generation_prompt })),
    );
    expect(requests).toHaveLength(renders.length);
    requests.forEach((request, i) => {
      const context = { ...vectors.tokens, documents: null, ...request };
      expect(check(template, context, renders[i]!)).toBe("same");
    });
    expect(renders.some((expected) => "text" in expected)).toBe(true);
  });

  it("says what is wrong and where", () => {
    const error = (template: string) => renderAll(template, [{ messages: [] }])[0];
    expect(error("a\n{{ x.y }}")).toEqual({ error: "line 2 of the template: 'x' is undefined" });
    expect(error("a\n\n{% if %}")).toEqual({
      error: "line 3 of the template: Expected an expression, got '%}'",
    });
    expect(error("\n{% include 'x' %}")).toEqual({
      error: "line 2 of the template: the statement 'include' is not supported in chat templates here",
    });
    expect(error("{{ raise_exception('No tools, please') }}")).toEqual({ error: "No tools, please" });
    expect(error("{{ 'a' + 1 }}")).toEqual({
      error: "line 1 of the template: unsupported operand type(s) for +: 'str' and 'int'",
    });
  });

  it("tells where a generation block is, or that it does not know", () => {
    const marked = "{% for m in messages %}<{% generation %}{{ m }}{% endgeneration %}>{% endfor %}";
    expect(renderAll(marked, [{ messages: ["ab", "c"] }])).toEqual([
      {
        text: "<ab><c>",
        spans: [
          [1, 3],
          [5, 6],
        ],
      },
    ]);
    const captured = `{% set x %}${marked}{% endset %}{{ x }}${marked}`;
    expect(renderAll(captured, [{ messages: ["a"] }])).toEqual([{ text: "<a><a>", spans: [] }]);
  });

  it("knows glibc's letters of strftime, and refuses others", () => {
    const now = "2031-01-05T15:07:09Z";
    const date = (format: string) => renderAll(`{{ strftime_now('${format}') }}`, [{ now }])[0];
    const all = "%a %A %b %B %c %C %d %D %e %F %G %h %H %I %j %k %l %m %M %p %P %r %R %S %T %u %U %V %w %W %x %X %y %Y";
    expect(date(all)).toMatchObject({
      text: "Sun Sunday Jan January Sun Jan  5 15:07:09 2031 20 05 01/05/31  5 2031-01-05 2031 Jan 15 03 005 15  3 01 07 PM pm 03:07:09 PM 15:07 09 15:07:09 7 01 01 0 00 01/05/31 15:07:09 31 2031",
    });
    expect(date("%-d %-m %_H %Z%z%%")).toMatchObject({ text: "5 1 15 %" });
    expect(date("%Q")).toEqual({ error: expect.stringContaining("'%Q' in strftime_now is not supported") });
  });
});

/** transformers' alias of the reasoning field, which the vectors were made with. */
function alias(message: TemplateContext): TemplateContext {
  const { reasoning_content: reasoning } = message;
  return reasoning === undefined ? message : { thinking: reasoning, ...message };
}
