import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { joinLines } from "./chat-input.js";
import { openHistory } from "./history.js";

const folder = mkdtempSync(join(tmpdir(), "lowrank-history-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The messages that lines become, and what is left at the end. */
function joined(...lines: string[]): { messages: (string | undefined)[]; rest: string } {
  const joining = joinLines();
  const messages = lines.map((line) => joining.push(line)).filter((message) => message !== undefined);
  return { messages, rest: joining.drop() };
}

it("takes a line as a message, as it was typed", () => {
  expect(joined("a", "  b ", "", "c\\d")).toEqual({ messages: ["a", "  b ", "", "c\\d"], rest: "" });
});

it("a backslash at the end goes on in the next line", () => {
  expect(joined("a\\", "b \\", "c", "d")).toEqual({ messages: ["a\nb \nc", "d"], rest: "" });
  expect(joined("a\\")).toEqual({ messages: [], rest: "a" });
});

it("lines between three quotes are one message, backslashes and all", () => {
  expect(joined('"""', "a\\", "", "  b", '"""', "c")).toEqual({ messages: ["a\\\n\n  b", "c"], rest: "" });
  expect(joined('"""a', 'b"""')).toEqual({ messages: ["a\nb"], rest: "" });
  expect(joined('"""a"""', "b")).toEqual({ messages: ["a", "b"], rest: "" });
  expect(joined('"""', '"""')).toEqual({ messages: [""], rest: "" });
  expect(joined('say """')).toEqual({ messages: ['say """'], rest: "" });
});

it("keeps what was typed in a file for its owner alone, the newest first, and not without end", async () => {
  const path = join(folder, "state", "chat_history");
  const history = await openHistory(path);
  expect(history.lines).toEqual([]);
  await history.add("one");
  await history.add("two");
  expect((await openHistory(path)).lines).toEqual(["two", "one"]);
  if (process.platform !== "win32") {
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(join(folder, "state")).mode & 0o777).toBe(0o700);
    chmodSync(path, 0o644);
    await openHistory(path);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  }
  writeFileSync(path, Array.from({ length: 3000 }, (_, i) => `${i}\n`).join(""));
  expect((await openHistory(path)).lines).toHaveLength(1000);
  expect(readFileSync(path, "utf8").split("\n")[0]).toBe("2000");
});

it("goes on without a history where none can be kept", async () => {
  writeFileSync(join(folder, "file"), "");
  const history = await openHistory(join(folder, "file", "chat_history"));
  await history.add("one");
  expect(history.lines).toEqual([]);
});
