import { expect, it } from "vitest";
import { configKeys } from "../recipes/config-keys.js";
import { inParameters } from "../server/errors.js";
import { sampling } from "../server/schema.js";
import { OPTIONS, option } from "../tensor/option.js";
import { COMMANDS } from "./commands.js";
import { inFlags } from "./in-flags.js";

it.each([
  [option("to", "gguf"), "--to gguf", "to: gguf"],
  [option("splitMaxSize"), "--split-max-size", "split_max_size"],
  [option("run", false), "--no-run", "run: false"],
  [option("resume", true), "--resume", "resume: true"],
  [option("data.onOverflow", "skip"), "data.on_overflow=skip", "data.on_overflow: skip"],
  [option("data.maxSeqLen"), "data.max_seq_len", "data.max_seq_len"],
])("%s is %s on the command line, and %s in a request", (said, flag, parameter) => {
  expect(inFlags(`use ${said}.`)).toBe(`use ${flag}.`);
  expect(inParameters(`use ${said}.`)).toBe(`use ${parameter}.`);
});

it("every option that a message may name is a flag of some verb, a key of the config, or a request's alone", () => {
  const flags = COMMANDS.flatMap(({ options }) => options.map(({ flags }) => /--(?:no-)?([\w-]+)/.exec(flags)![1]!));
  const known = [...flags, ...configKeys().map(({ key }) => key)];
  const words = OPTIONS.map((name) => inFlags(option(name)).replace("--", ""));
  const others = OPTIONS.filter((_, i) => !known.includes(words[i]!)).map((name) => inParameters(option(name)));
  expect(others.filter((name) => !(name in sampling))).toEqual([]);
  expect(others).toEqual(["logit_bias"]);
});
