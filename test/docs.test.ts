import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, it } from "vitest";
import { blocksOf, checkTypes, PAGES, ROOT, runnable, runPage, SAMPLE_PAGE } from "./pages.js";

// docs.full.test.ts runs the other pages' blocks.
it.each(PAGES)("%s: its links to files lead somewhere", (page) => {
  const text = readFileSync(join(ROOT, page), "utf8");
  const links = [...text.matchAll(/\]\((?!https?:|#)([^)#]+)\)/g)].map((match) => match[1]!);
  const broken = links.filter((link) => !isThere(join(dirname(page), link)));
  expect(broken).toEqual([]);
});

it("the fine-tune of the README takes fewer than 20 lines", () => {
  const block = blocksOf("README.md").find(({ language }) => language === "ts")!;
  const untilTrained = block.code.split("loadModel(")[0]!.split("\n").filter(Boolean);
  expect(untilTrained.length).toBeLessThan(20);
});

it("few blocks are left out, each with a reason", () => {
  const left = PAGES.flatMap((page) => blocksOf(page).filter((block) => block.notRun));
  expect(left.length).toBeLessThanOrEqual(6);
});

it("the ts blocks of every page have right types", async () => {
  const blocks = PAGES.flatMap(runnable).filter(({ language }) => language === "ts");
  expect(blocks.length).toBeGreaterThan(3);
  await checkTypes(blocks);
});

it.skipIf(process.platform === "win32")(`the blocks of ${SAMPLE_PAGE} run`, () => runPage(SAMPLE_PAGE));

function isThere(path: string): boolean {
  try {
    readFileSync(join(ROOT, path));
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EISDIR";
  }
}
