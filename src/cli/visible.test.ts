import { expect, it } from "vitest";
import { exactOut, type Io, withVisibleText } from "./io.js";
import { fitted, statusLine } from "./progress.js";
import { cutTo, visible, widthOf } from "./visible.js";

it("makes control characters visible, and leaves what writing needs", () => {
  expect(visible("a\u001b[31mred\u0007\r\u007f\u009b0m\u202eevil\u2066")).toBe(
    "a\\u001b[31mred\\u0007\\u000d\\u007f\\u009b0m\\u202eevil\\u2066",
  );
  const kept = "two\nlines\tand 日本語, می‌خواهم, 👩‍👩‍👧, עברית\u200f, e\u0301";
  expect(visible(kept)).toBe(kept);
  const json = JSON.stringify({ a: "\u001b\u007f\u009b\u202e" });
  expect(JSON.parse(visible(json))).toEqual(JSON.parse(json));
});

it("cuts a text to columns, wide characters and marks counted as terminals show them", () => {
  expect([widthOf("abc"), widthOf("日本"), widthOf("e\u0301"), widthOf("👍")]).toEqual([3, 4, 1, 2]);
  expect(cutTo("abcdefgh", 8)).toBe("abcdefgh");
  expect(cutTo("abcdefghi", 8)).toBe("abcde...");
  expect(widthOf(cutTo("日本語日本語", 8))).toBeLessThanOrEqual(8);
  expect(cutTo("abc", 2)).toBe("..");
});

it("a status leaves out what matters least, until it fits", () => {
  const parts = [
    { text: "[####]", spare: 2 },
    { text: "step 1/2", spare: 0 },
    { text: "9 tokens/s", spare: 1 },
  ];
  expect(fitted(parts, 80)).toBe("[####]  step 1/2  9 tokens/s");
  expect(fitted(parts, 25)).toBe("step 1/2  9 tokens/s");
  expect(fitted(parts, 12)).toBe("step 1/2");
  expect(fitted(parts, 7)).toBe("step...");
});

/** What is written, by sink. */
function listen(more: Partial<Io> = {}) {
  const heard = { out: "", err: "" };
  const io: Io = {
    out: (text) => void (heard.out += text),
    err: (text) => void (heard.err += text),
    interactive: false,
    columns: 80,
    ...more,
  };
  return { heard, io: withVisibleText(io) };
}

it("never lets a status line be wider than the terminal, and follows its width", () => {
  let columns = 80;
  const { heard, io } = listen({
    interactive: true,
    get columns() {
      return columns;
    },
  });
  const status = statusLine({
    ...io,
    get columns() {
      return columns;
    },
  });
  for (columns of [80, 20, 5]) {
    heard.err = "";
    status.note("note");
    status.update("x".repeat(200));
    status.end();
    const lines = heard.err.replaceAll("\r\u001b[2K", "\n").split("\n");
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThan(columns);
    expect(heard.err).not.toContain("\\u001b");
  }
});

it("escapes what is printed, but not what somebody keeps in a file", () => {
  const file = listen();
  file.io.out("\u001b[2J");
  exactOut(file.io)("\u001b[2J");
  expect(file.heard.out).toBe("\\u001b[2J\u001b[2J");
  const terminal = listen({ terminal: true });
  exactOut(terminal.io)("\u001b[2J");
  expect(terminal.heard.out).toBe("\\u001b[2J");
});
