export * from "./lowering.js";
export * from "./providers.js";
