import { expect, it } from "vitest";
import { option, phrased } from "./option.js";

it("options of a message are said as whoever shows it says them; all else stays as it is", () => {
  const message = `${option("to", "gguf")} without ${option("splitMaxSize")}, not \`other: 1\` or "to: gguf"`;
  expect(message).toBe('`to: gguf` without `splitMaxSize`, not `other: 1` or "to: gguf"');
  expect(phrased(message, (name, value) => `<${name}=${value}>`)).toBe(
    '<to=gguf> without <splitMaxSize=undefined>, not `other: 1` or "to: gguf"',
  );
  expect(phrased(option("run", false), (name, value) => `${name} ${value}`)).toBe("run false");
});
