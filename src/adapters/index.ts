export * from "./host-update.js";
export * from "./inits/index.js";
export * from "./kinds/index.js";
export * from "./update.js";
