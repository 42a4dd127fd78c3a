/** What a template does wrong: jinja2 would end with an error too, or would have to be given up. */
export class TemplateError extends Error {
  override name = "TemplateError";
  /** Line of the template, from 1, once it is known. */
  line?: number;
}

/** What jinja2 would render and this interpreter does not: refused rather than rendered otherwise. */
export class Unsupported extends TemplateError {
  override name = "Unsupported";
  constructor(what: string) {
    super(`${what} is not supported in chat templates here`);
  }
}

/** What `raise_exception` says: the template author's own words. */
export class Raised extends TemplateError {
  override name = "Raised";
}

/** Longest text that a template may make or write, in UTF-16 units. */
export const longestText = 1 << 24;

/**
 * Units of work of one render: about one a character that is read or written, and some a turn of a loop, a call and an
 * item of a list. They bound the memory that a render can hold (2 bytes a unit, twice that for items) as well as its time.
 */
const mostWork = 1 << 26;

/** What one turn of a loop, one call or one item costs. */
export const STEP = 8;

let left = mostWork;

/** A render begins: its work is counted from here. */
export function beginWork(): void {
  left = mostWork;
}

/** Counts work that is about to be done. Throws TemplateError when it is too much. */
export function spend(units: number): void {
  left -= units;
  if (left < 0) throw new TemplateError("it does more work than a chat template may");
}

/** Counts a text that is about to be made. Throws TemplateError when it is too long. */
export function spendText(length: number): void {
  if (!(length <= longestText)) throw new TemplateError(`it makes a text of more than ${longestText} characters`);
  spend(length);
}

/** Counts a list that is about to be made. Throws TemplateError when it has too many items. */
export function spendItems(count: number): void {
  if (!(count <= mostWork)) throw new TemplateError("it makes a list of more items than a chat template may");
  spend(count * STEP);
}
