export * from "./config.js";
export * from "./decode.js";
export * from "./linear.js";
export * from "./llama.js";
export * from "./lora-config.js";
export * from "./loss.js";
export * from "./names.js";
export * from "./rope.js";
