export { decodeValues } from "./decode-kernels.js";
export * from "./dtype.js";
export * from "./errors.js";
export * from "./half.js";
export { blockBytes, CODECS, type Codec, type CodecName, codecOf } from "./quants.js";
export * from "./random.js";
