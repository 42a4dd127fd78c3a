import { afterAll, describe, expect, it } from "vitest";
import { parseJson } from "../tokenizers/json.js";
import { createTemplateRunner } from "./template-runner.js";

const runner = createTemplateRunner();
afterAll(() => runner.dispose());

const good = "{% for m in messages %}{{ m.content }};{% endfor %}";
const hi = { text: "hi;", spans: [] };
const context = { messages: [{ role: "user", content: "hi" }] };

/** Makes a string of 16 million characters, the longest there may be. */
const long = "{% set n = namespace(x='a') %}{% for i in range(24) %}{% set n.x = n.x ~ n.x %}{% endfor %}";

/** Chat template that loops, recurses or makes gigabytes: stopped within a second; others served. */
const hostile: Record<string, string> = {
  "loops for ever":
    "{% for a in range(100000) %}{% for b in range(100000) %}{% for c in range(100000) %}{% endfor %}{% endfor %}{% endfor %}",
  recurses: "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
  "recurses twice a level":
    "{% macro f(x) %}{% if x > 0 %}{{ f(x - 1) + f(x - 1) }}{% endif %}a{% endmacro %}{{ f(60) }}",
  "doubles a string":
    "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
  "makes a large string":
    "{% set n = namespace(x='a') %}{% for i in range(28) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
  "doubles a list":
    "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x | length }}",
  "doubles a string by replacing":
    "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x | replace('a', 'aa') %}{% endfor %}{{ n.x }}",
  "turns a long string round": `${long}{{ n.x[::-1] | length }}`,
  "splits a long string": `${long}{{ n.x.split('a') | length }}`,
  "asks for a long date": `${long}{{ strftime_now(n.x | replace('a', '%A')) | length }}`,
  "keeps many long strings": `${long}{% set n.l = [] %}{% for i in range(90) %}{% set n.l = n.l + [n.x[1:] ~ i] %}{{ n.l[-1].find('b') }}{% endfor %}`,
  "lists the characters of a long string": `${long}{{ n.x | list | length }}`,
  "pads a string": "{{ 'a'.center(4000000000) | length }}",
  "formats with a wide field": "{{ '%4000000000d' % 1 }}",
  "takes a large power": "{{ 9 ** 99999999 }}",
  "nests lists without end":
    "{% set n = namespace(x=[]) %}{% for i in range(99999) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x }}",
  "asks for a huge range": "{{ range(1000000000) | length }}",
  "writes for ever":
    "{% for a in range(1000000) %}{% for b in range(1000000) %}xxxxxxxxxxxxxxxx{% endfor %}{% endfor %}",
  "nests brackets": `{{ ${"(".repeat(200000)}1${")".repeat(200000)} }}`,
  "is slow to parse": `{{ 1 ${" ".repeat(400000)}x }}`,
};

describe("template worker", () => {
  it.each(Object.entries(hostile))("stops a template that %s, others served", async (_, template) => {
    await runner.render(good, [context]); // the worker is up
    const started = process.cpuUsage();
    const [bad, other] = await Promise.all([runner.render(template, [context]), runner.render(good, [context])]);
    const { user, system } = process.cpuUsage(started);
    expect(bad).toEqual([{ error: expect.any(String) }]);
    expect(other).toEqual([hi]);
    expect((user + system) / 1000).toBeLessThan(2500); // stopped after 0.75 s; the rest is collecting its rubbish and a new worker
  });

  it("keeps the results that came before the stop, and the event loop free", async () => {
    const template =
      "{% if messages[0].content == 'bad' %}{% for a in range(90) %}{% for b in range(70000) %}{% endfor %}{% endfor %}{% endif %}ok";
    const impatient = createTemplateRunner({ milliseconds: 100 });
    let ticks = 0;
    const timer = setInterval(() => ticks++, 10);
    const results = await impatient.render(template, [context, { messages: [{ content: "bad" }] }, context]);
    clearInterval(timer);
    await impatient.dispose();
    expect(results[1]).toEqual({ error: "it ran for more than 100 ms and was stopped" });
    expect(results).toHaveLength(3);
    expect(ticks).toBeGreaterThan(2);
  });

  it("gives a row of many megabytes its text or an error", async () => {
    const row = (length: number) => ({ messages: [{ role: "user", content: "a\u00e9".repeat(length / 2) }] });
    const [fits, tooLong] = await runner.render(good, [row(10e6), row(56e6)]);
    expect(fits).toMatchObject({ text: expect.stringMatching(/;$/) });
    expect(tooLong).toEqual({ error: expect.stringMatching(/^its messages hold 560\d+ characters, more than/) });
  });

  it("brings floats, long integers and the order of keys to the template", async () => {
    const text = '{"messages": [], "tools": [{"b": 1.0, "10": 1e-05, "2": 123456789012345678901}]}';
    const expected = '[{"b": 1.0, "10": 1e-05, "2": 123456789012345678901}]';
    const tools = parseJson(text) as { messages: [] };
    expect(await runner.render("{{ tools | tojson }}", [tools, tools])).toEqual([
      { text: expected, spans: [] },
      { text: expected, spans: [] },
    ]);
  });

  it("renders a conversation of 20,000 turns well within its time", async () => {
    const turns = Array.from({ length: 20000 }, (_, i) => ({
      role: i % 2 ? "assistant" : "user",
      content: `turn ${i}`,
    }));
    const template =
      "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] | trim + '\\n' }}{% if loop.last %}.{% endif %}{% endfor %}";
    const [result] = await runner.render(template, [{ messages: turns }]);
    expect(result).toMatchObject({ text: expect.stringMatching(/<\|assistant\|>turn 19999\n\.$/) });
  });

  it("renders thousands of conversations in one trip", async () => {
    const results = await runner.render(good, new Array(3000).fill(context));
    expect(results).toEqual(new Array(3000).fill(hi));
  });

  it("has no way out to the process", async () => {
    for (const name of ["process", "require", "globalThis", "constructor"]) {
      expect(await runner.render(`{{ ${name} is defined }}`, [context])).toEqual([{ text: "False", spans: [] }]);
    }
    const [escaped] = await runner.render("{{ messages.constructor.constructor('return process')() }}", [context]);
    expect(escaped).toEqual({ error: expect.any(String) });
  });
});
