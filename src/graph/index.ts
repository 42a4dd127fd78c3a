export * from "./attention.js";
export * from "./build.js";
export * from "./gradient.js";
export * from "./memory.js";
export * from "./printer.js";
export * from "./reference.js";
export * from "./value.js";
export * from "./verify.js";
