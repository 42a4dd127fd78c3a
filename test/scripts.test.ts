import { readdirSync, readFileSync } from "node:fs";
import { posix } from "node:path";
import { expect, it } from "vitest";

const root = new URL("../", import.meta.url);
const FOLDERS = ["bench", "scripts", "examples", "test"];

/** What the project's own scripts take out of dist/: the file of src/ that it is made of, and the names. */
const taken = FOLDERS.flatMap((folder) =>
  (readdirSync(new URL(folder, root), { recursive: true, encoding: "utf8" }) as string[])
    .map((path) => `${folder}/${path.replaceAll("\\", "/")}`)
    .filter((path) => /\.m?js$/.test(path) && !path.includes("node_modules/"))
    .flatMap((path) => {
      const text = readFileSync(new URL(path, root), "utf8");
      const imports = text.matchAll(/(?:import|const) \{([^}]*)\} (?:from|= await import\() ?"(\.[^"]*)"/g);
      return [...imports].map((m) => ({
        path,
        from: posix.join(posix.dirname(path), m[2]!),
        names: m[1]!.split(",").map((name) => name.trim().split(/ as |:/)[0]!),
      }));
    }),
).filter(({ from }) => from.startsWith("dist/"));

it("scripts, the bench and examples call only what is there", async () => {
  expect(taken.length).toBeGreaterThan(20);
  const missing: string[] = [];
  for (const { path, from, names } of taken) {
    const source = new URL(from.replace(/^dist\//, "src/").replace(/\.js$/, ".ts"), root).href;
    const there = (await import(/* @vite-ignore */ source).catch(() => ({}))) as object;
    for (const name of names) if (name !== "" && !(name in there)) missing.push(`${path}: ${name} of ${from}`);
  }
  expect(missing).toEqual([]);
});
