export * from "./lowering.js";
export { encodeModel, type Named } from "./model.js";
export * from "./providers.js";
