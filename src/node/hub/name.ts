import { unsafeName } from "../../formats/files.js";
import { UserError } from "../../tensor/index.js";

/** What `owner/name`, `owner/name@revision` and `owner/name/file.gguf` mean. */
export interface HubName {
  /** `owner/name`. */
  readonly repository: string;
  /** Branch, tag or commit. Default "main". */
  readonly revision: string;
  /** A file or folder inside the repository. */
  readonly inside?: string;
}

/** Each part starts with a letter or digit, so none can leave a folder. */
const PATTERN = /^([A-Za-z0-9][\w.-]{0,95}\/[A-Za-z0-9][\w.-]{0,95})(?:\/([^@]+))?(?:@(.+))?$/;

export const MAIN = "main";

/** Reads a name as the hub writes it; undefined when it is none. */
export function parseHubName(text: string): HubName | undefined {
  const [, repository, inside, revision = MAIN] = PATTERN.exec(text) ?? [];
  if (!repository || unsafeName(revision) || (inside && unsafeName(inside))) return undefined;
  return { repository, revision, ...(inside ? { inside } : {}) };
}

/** A repository to download, with its revision beside it or in it. Throws UserError when it is none or the two disagree. */
export function repositoryOf(text: string, revision?: string): HubName {
  const name = parseHubName(text);
  if (!name || name.inside)
    throw new UserError(`'${text}': expected owner/name or owner/name@revision, as the hub writes it`);
  if (revision === undefined) return name;
  if (unsafeName(revision)) throw new UserError(`revision: '${revision}' is no branch, tag or commit`);
  if (text.includes("@") && name.revision !== revision) {
    throw new UserError(
      `'${text}': its revision is ${name.revision}, and ${revision} was asked for too; give one of them`,
    );
  }
  return { ...name, revision };
}
