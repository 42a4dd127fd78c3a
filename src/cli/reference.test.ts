import { readFileSync } from "node:fs";
import { expect, expectTypeOf, it } from "vitest";
import { withPart } from "../../test/pages.js";
import type { TrainInput, TrainOptions } from "../recipes/config-schema.js";
import { targetTable } from "./export.js";
import { cliReference, configReference, markdownTable, optionsReference } from "./reference.js";

// After a change of the tables: npx vitest run src/cli/reference.test.ts -u
it("docs/config.md is what the config schema says", async () => {
  await expect(configReference()).toMatchFileSnapshot("../../docs/config.md");
});

it("the types of a run's options are what the config schema says, with words to each key", async () => {
  await expect(optionsReference()).toMatchFileSnapshot("../recipes/train-options.ts");
  expectTypeOf<TrainOptions>().toExtend<TrainInput>();
  expectTypeOf<TrainInput>().toExtend<TrainOptions>();
  expectTypeOf<keyof TrainOptions>().toEqualTypeOf<keyof TrainInput>();
});

it("docs/cli.md is what the table of commands says", async () => {
  await expect(await cliReference()).toMatchFileSnapshot("../../docs/cli.md");
});

it("docs/export.md has the table of targets", async () => {
  const page = readFileSync(new URL("../../docs/export.md", import.meta.url), "utf8");
  await expect(withPart(page, "targets", markdownTable(targetTable()))).toMatchFileSnapshot("../../docs/export.md");
});
