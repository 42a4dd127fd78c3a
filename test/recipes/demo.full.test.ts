import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import type { DemoResult } from "../../src/recipes/demo/demo.js";
import { runCli } from "../run-cli.js";

const folder = mkdtempSync(join(tmpdir(), "lowrank-demo-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

// Half of `npm start`: enough to see every effect.
it("the first minute: facts learned, inventions stopped, one habit gone and another there", {
  timeout: 180_000,
}, async () => {
  const args = ["demo", "--json", "max_steps=216", "optimizer.lr=0.003", `output_dir=${folder}`];
  const { code, out, err } = await runCli(...args);
  expect(code, err).toBe(0);
  const { before, after, rows, adapter } = JSON.parse(out) as DemoResult;
  const share = ({ count, total }: { count: number; total: number }) => count / total;
  expect(before.unwanted.total).toBe(104);
  expect(share(before.facts)).toBeLessThan(0.2);
  expect(share(after.facts)).toBeGreaterThan(0.7);
  expect(share(before.invented)).toBe(1);
  expect(share(after.invented)).toBeLessThan(0.35);
  expect([share(before.unwanted), share(after.unwanted)]).toEqual([1, 0]);
  expect(share(before.wanted)).toBe(0);
  expect(share(after.wanted)).toBeGreaterThan(0.95);
  expect(share(before.kept)).toBe(1);
  expect(rows).toHaveLength(5);
  expect(existsSync(join(adapter, "adapter_model.safetensors"))).toBe(true);
});
