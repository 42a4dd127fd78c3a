export { updatedInputs, updatedName } from "./cached-attention.js";
export * from "./lowering.js";
export { ELEMENT, encodeModel, type Named, type OnnxModel, type OnnxNode, type Open } from "./model.js";
export * from "./node-list.js";
export * from "./providers.js";
export * from "./streamed-model.js";
