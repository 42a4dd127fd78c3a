import { expect, it } from "vitest";
import { memoryFiles } from "../memory-files.js";
import { scaledConfig, writeScaled } from "./scaled.js";

const folder = (config: object) =>
  memoryFiles({
    "a/adapter_config.json": JSON.stringify(config),
    "a/adapter_model.safetensors": "weights",
    "a/README.md": "card",
  });

it("every alpha is times the scale, and nothing else changes", async () => {
  const config = { peft_type: "LORA", r: 8, lora_alpha: 16, alpha_pattern: { q_proj: 4, "^v": 0.1 }, use_rslora: true };
  expect(await scaledConfig(folder(config), "a", 0.7)).toEqual({
    ...config,
    lora_alpha: 11.2,
    alpha_pattern: { q_proj: 2.8, "^v": 0.07 },
  });
  expect(await scaledConfig(folder({ r: 4 }), "a", 0.5)).toEqual({ r: 4, lora_alpha: 4 });
  await expect(scaledConfig(folder({ use_dora: true }), "a", 0.5)).rejects.toThrow("does not grow with its alpha");
  await expect(scaledConfig(memoryFiles(), "a", 0.5)).rejects.toThrow("a: no adapter here");
});

it("a copy has the other files as they were, and the adapter stays", async () => {
  const files = folder({ lora_alpha: 16 });
  await writeScaled(files, "a", 0.5, "b");
  const text = async (path: string) => new TextDecoder().decode(await files.read(path));
  expect(await files.list("b")).toEqual(await files.list("a"));
  expect(await text("b/adapter_model.safetensors")).toBe("weights");
  expect(JSON.parse(await text("b/adapter_config.json"))).toEqual({ lora_alpha: 8 });
  expect(JSON.parse(await text("a/adapter_config.json"))).toEqual({ lora_alpha: 16 });
});
