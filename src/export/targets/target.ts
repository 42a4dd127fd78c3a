import type { Files } from "../../formats/files.js";
import type { Adapter } from "../../formats/peft/adapter.js";
import type { GgufWeightType } from "../../tensor/codecs/quants-encode.js";
import type { ChatTemplates, TokenizerFiles } from "../../tokenizers/files.js";
import type { OpenModel } from "../../weights/model-folder.js";
import type { Subject } from "../subject.js";
import type { SystemVerdict } from "../systems.js";
import type { Trial } from "../trials.js";

/** What is to be written where: the path is the file or the folder itself. */
export interface Draft {
  readonly path: string;
  readonly asFile: boolean;
  /** Undefined: the target's own choice. */
  readonly type: GgufWeightType | undefined;
  /** Bytes of tensors after which another part is begun; undefined: one file. */
  readonly splitMaxSize?: number | undefined;
}

/** An export that was opened again: whatever of these it holds is held against the adapter. */
export interface Reopened {
  readonly path: string;
  readonly tokenizer?: TokenizerFiles;
  readonly model?: OpenModel;
  readonly adapter?: Adapter;
}

/** What the rules of who loads it look at. */
export interface Exported {
  /** What a system is given: the folder, the file, or the first part of several. */
  readonly path: string;
  readonly base: OpenModel;
  readonly adapter?: Adapter;
}

export type ExportedAdapter = Exported & { readonly adapter: Adapter };

/** A small file for one of the systems, written beside an export that passed. */
export interface Companion {
  pathFor(output: string, asFile: boolean): string;
  /** Undefined where it would be of no use. */
  text(subject: Subject, exported: string): Promise<string | undefined>;
}

/** A form in which an adapter leaves. */
export interface ExportTarget {
  /** What comes out, in a line of help and docs. */
  readonly summary: string;
  /** The base's weights are in it, with the adapter merged in where there is one. The others are given subjects with an adapter alone. */
  readonly whole?: true;
  /** What weights may be written in. */
  readonly types: readonly GgufWeightType[];
  /** What they are written in where nobody asks: one of the types, or in words. */
  readonly usually: string;
  /** The ending of a name that is a single file. Without one the target is always a folder. */
  readonly fileEnding?: ".gguf";
  /** Can be written in parts, into a folder. */
  readonly inParts?: true;
  readonly companion?: Companion;

  /** Writes the draft and returns the path that a reader opens. */
  write(files: Files, subject: Subject, draft: Draft): Promise<string>;
  /** Opens what was written, as a reader would. */
  reopen(files: Files, path: string, subject: Subject): Promise<Reopened>;
  /** The ways of running it; each must say what base + adapter says. */
  trials(subject: Subject, reopened: Reopened, type: GgufWeightType | undefined): Trial[];
  /** Who loads it and how, and who does not and why. */
  systems(exported: Exported): SystemVerdict[];
  /** What it cannot hold of this adapter and base, though it is written. */
  warnings?(subject: Subject, base: ChatTemplates): string[];
  /** Takes out what a trial that can be spared ran, when it stays too far off. */
  leaveOut?(files: Files, path: string, trial: Trial): Promise<void>;
}
