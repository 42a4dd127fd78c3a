export * from "./dtype.js";
export * from "./errors.js";
export * from "./half.js";
export * from "./random.js";
