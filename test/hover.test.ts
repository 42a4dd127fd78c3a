import { readdirSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { createApi, type Platform } from "../src/api/index.js";

// An editor shows, over an option of the public API, the comment above it: each has one, which names the default.
const SRC = new URL("../src/", import.meta.url);
const sources = (readdirSync(SRC, { recursive: true, encoding: "utf8" }) as string[])
  .filter((path) => path.endsWith(".ts") && !path.endsWith(".test.ts"))
  .map((path) => readFileSync(new URL(path, SRC), "utf8"));

/** The types that are given to the package's functions, and what they are made of. */
function optionTypes(): string[] {
  const entries = ["api/index.ts", "api/api.ts", "node/index.ts", "server/index.ts"].map((path) =>
    readFileSync(new URL(path, SRC), "utf8"),
  );
  const exported = entries.join("\n").match(/\b\w+(Options|Request|Limits)\b/g)!;
  const parents = ["LoadOptions", "SamplingOptions", "CombineOptions", "ExtractOptions"];
  const sections = ["LoraOptions", "DataOptions", "OptimizerOptions", "ScheduleOptions", "HubAccess"];
  return [...new Set([...exported, ...parents, ...sections])].sort();
}

interface Member {
  readonly name: string;
  readonly words: string;
  readonly optional: boolean;
  readonly type: string;
}

function membersOf(type: string): Member[] {
  const body = sources.map(
    (text) => new RegExp(`export interface ${type}\\b[^{]*\\{\\n(.*?)\\n\\}`, "s").exec(text)?.[1],
  );
  const text = body.find((found) => found !== undefined);
  const members = [
    ...(text ?? "").matchAll(/(?:^ {2}(\/\*\*(?:[^*]|\*(?!\/))*\*\/)\n)?^ {2}(?:readonly )?(\w+)(\?)?: (.*);$/gm),
  ];
  return members.map(([, words = "", name, optional, kind]) => {
    return { name: `${type}.${name}`, words, optional: optional === "?", type: kind! };
  });
}

it("every option has words, and names its default", () => {
  const members = optionTypes().flatMap(membersOf);
  expect(members.length).toBeGreaterThan(100);
  expect(members.filter(({ words }) => words === "").map(({ name }) => name)).toEqual([]);
  // A listener or a signal that is not given is not there: there is nothing to name.
  const named = ({ type }: Member) => !/=>|AbortSignal/.test(type);
  const silent = members.filter((member) => member.optional && named(member) && !/default/i.test(member.words));
  expect(silent.map(({ name }) => name)).toEqual([]);
});

it("every function of the package has words where editors look for them", () => {
  const declared = readFileSync(new URL("../dist/node/index.d.ts", import.meta.url), "utf8");
  const functions = [...declared.matchAll(/(\*\/\n)?export declare (?:const|function) (\w+)/g)];
  expect(functions.map(([, , name]) => name).sort()).toEqual(Object.keys(createApi({} as Platform)).sort());
  expect(functions.filter(([, words]) => !words).map(([, , name]) => name)).toEqual([]);
});
