import { homedir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { COMMANDS } from "./commands.js";
import { expandHome, withPaths } from "./paths.js";

const home = homedir();

it("puts the home folder where a shell would, and where it does not", () => {
  const kept = ["", "a", "~user", "~user/a", "a/~", "a~", "./~", "a b=~/x", "C:\\a", "x=y"];
  for (const text of kept) expect(expandHome(text)).toBe(text);
  expect(expandHome("~")).toBe(home);
  expect(expandHome("~/a #1")).toBe(join(home, "a #1"));
  expect(expandHome("mine=~/a")).toBe(`mine=${home}/a`);
});

it("looks at the paths among arguments and options, and at nothing else", () => {
  const entry = {
    args: [
      ["<file-or-name>", ""],
      ["[overrides...]", ""],
    ] as const,
    options: ["--output <folder>", "--adapter <name=folder...>", "--prompt <text>", "--base-cache [folder]"].map(
      (flags) => ({
        flags,
        description: "",
      }),
    ),
  };
  const given = { output: "~/out/", adapter: ["~/a", "b=~/b"], prompt: "~/p\n", baseCache: true };
  expect(withPaths(entry, ["~/c.yaml", "a=~/d"], given)).toEqual({
    args: [`${home}/c.yaml`, "a=~/d"],
    options: { output: `${home}/out`, adapter: [`${home}/a`, `b=${home}/b`], prompt: "~/p\n", baseCache: true },
  });
  expect(withPaths(entry, ["/"], { output: "/" })).toEqual({ args: ["/"], options: { output: "/" } });
  expect(() => withPaths(entry, ["a"], { output: "" })).toThrow("--output: the path is empty");
  expect(() => withPaths(entry, ["a\nb"], {})).toThrow(
    '<file-or-name>: a path cannot hold the control character "\\n"',
  );
});

it("knows every flag of the table that takes a path", () => {
  const takes = COMMANDS.flatMap(({ name, options }) =>
    options.flatMap(({ flags }) => {
      const [, flag] = /(--[\w-]+)/.exec(flags)!;
      const key = flag!.slice(2).replace(/-([a-z0-9])/g, (_, c: string) => c.toUpperCase());
      const { options: after } = withPaths({ options: [{ flags, description: "" }] }, [], { [key]: "~/x" });
      return after[key] === "~/x" ? [] : [`${name} ${flag}`];
    }),
  );
  for (const flag of [
    "train --base",
    "train --data",
    "train --output",
    "train --config",
    "serve --data-dir",
    "serve --adapter",
  ])
    expect(takes).toContain(flag);
  for (const flag of [
    "extract --tuned",
    "extract --report",
    "generate --messages",
    "generate --input",
    "bench --workload",
  ])
    expect(takes).toContain(flag);
  for (const flag of ["generate --prompt", "chat --system", "serve --host", "download --revision", "export --to"])
    expect(takes).not.toContain(flag);
});
