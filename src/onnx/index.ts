export * from "./lowering.js";
export { encodeModel } from "./model.js";
export * from "./providers.js";
