import { expect, it } from "vitest";
import { cliReference, configReference } from "./reference.js";

// After a change of the tables: npx vitest run src/cli/reference.test.ts -u
it("docs/config.md is what the config schema says", async () => {
  await expect(configReference()).toMatchFileSnapshot("../../docs/config.md");
});

it("docs/cli.md is what the table of commands says", async () => {
  await expect(cliReference()).toMatchFileSnapshot("../../docs/cli.md");
});
