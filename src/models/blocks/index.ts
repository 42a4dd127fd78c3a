import type { Block } from "../block.js";
import { postNorm } from "./post-norm.js";
import { preNorm } from "./pre-norm.js";
import { sandwich } from "./sandwich.js";

/** Every kind of block; to add one is a file and a row. */
export const BLOCKS = { pre_norm: preNorm, sandwich, post_norm: postNorm } as const satisfies Record<string, Block>;

export type BlockKind = keyof typeof BLOCKS;
