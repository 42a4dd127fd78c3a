export { updatedInputs, updatedName } from "./cached-attention.js";
export * from "./lowering.js";
export { ELEMENT, encodeModel, type OnnxModel, type Open } from "./model.js";
export * from "./node-list.js";
export * from "./providers.js";
export * from "./streamed-model.js";
