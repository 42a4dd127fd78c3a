export { decodeValues } from "./codecs/decode-kernels.js";
export { blockBytes, CODECS, type CodecName, codecOf } from "./codecs/quants.js";
export * from "./dtype.js";
export * from "./errors.js";
export * from "./half.js";
export { IncrementalPca } from "./incremental-pca.js";
export * from "./random.js";
export { productSvd, qr } from "./svd.js";
export { truncatedSvd } from "./truncated-svd.js";
