import { afterAll, describe, expect, it } from "vitest";
import { createTemplateRunner } from "./template-runner.js";

const runner = createTemplateRunner();
afterAll(() => runner.dispose());

const good = "{% for m in messages %}{{ m.content }};{% endfor %}";
const context = { messages: [{ role: "user", content: "hi" }] };

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
  "asks for a huge range": "{{ range(1000000000) | length }}",
  "writes for ever":
    "{% for a in range(1000000) %}{% for b in range(1000000) %}xxxxxxxxxxxxxxxx{% endfor %}{% endfor %}",
  "nests brackets": `{{ ${"(".repeat(200000)}1${")".repeat(200000)} }}`,
  "is slow to parse": `{{ 1 }}${" ".repeat(400000)}x`,
};

describe("template worker", () => {
  it.each(Object.entries(hostile))("stops a template that %s, others served", async (_, template) => {
    await runner.render(good, [context]); // the worker is up
    const started = process.cpuUsage();
    const [bad, other] = await Promise.all([runner.render(template, [context]), runner.render(good, [context])]);
    const { user, system } = process.cpuUsage(started);
    expect(bad).toEqual([{ error: expect.any(String) }]);
    expect(other).toEqual([{ text: "hi;" }]);
    expect((user + system) / 1000).toBeLessThan(2500); // stopped after 0.75 s; the rest is collecting its rubbish and a new worker
  });

  it("keeps the results that came before the stop, and the event loop free", async () => {
    const template =
      "{% if messages[0].content == 'bad' %}{% for a in range(1000000) %}{% for b in range(1000000) %}{% endfor %}{% endfor %}{% endif %}ok";
    let ticks = 0;
    const timer = setInterval(() => ticks++, 10);
    const results = await runner.render(template, [context, { messages: [{ content: "bad" }] }, context]);
    clearInterval(timer);
    expect(results[1]).toEqual({ error: "it ran for more than 750 ms and was stopped" });
    expect(results).toHaveLength(3);
    expect(ticks).toBeGreaterThan(20);
  });

  it("renders thousands of conversations in one trip", async () => {
    const results = await runner.render(good, new Array(3000).fill(context));
    expect(results).toEqual(new Array(3000).fill({ text: "hi;" }));
  });

  it("has no way out to the process", async () => {
    for (const name of ["process", "require", "globalThis", "constructor"]) {
      expect(await runner.render(`{{ ${name} is defined }}`, [context])).toEqual([{ text: "false" }]);
    }
    const [escaped] = await runner.render("{{ messages.constructor.constructor('return process')() }}", [context]);
    expect(escaped).toEqual({ error: expect.any(String) });
  });
});
