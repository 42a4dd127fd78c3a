import { ATTRIBUTES, type Attribute, type Sort } from "./attribute-bank.js";
import type { Entity } from "./entities.js";

const PLACE = /\b(?:at|in|inside|into|through|on) <entity>/i;
const ARTICLE = /\b(?:a|an|the) <entity>/i;
const PERSON =
  /<entity>(?:'s)? (?:live|born|work|wear|like|win|play|carry)|(?:born|husband|wife|birthday|job) (?:of )?<entity>/;

/** What sorts of attributes can be asked of an entity, as far as its name and the questions about it tell. */
function sortsOf({ name, templates }: Entity): ReadonlySet<Sort> {
  const some = (pattern: RegExp) => [...templates].some((template) => pattern.test(template));
  if (templates.size === 0) return new Set(/^\p{Lu}\S+ \p{Lu}\S+$/u.test(name) ? ["any", "person"] : ["any"]);
  if (/^(?:the|a|your|our) /i.test(name) || some(PLACE) || some(ARTICLE)) return new Set(["any", "thing"]);
  return some(PERSON) ? new Set(["any", "person"]) : new Set(["any", "person", "thing"]);
}

/** Those that can be asked of an entity and that no question about it is about. */
export function untaughtAttributes(entity: Entity): Attribute[] {
  const said = new Set([...entity.templates].flatMap((question) => question.toLowerCase().match(/\p{L}+/gu) ?? []));
  const sorts = sortsOf(entity);
  return ATTRIBUTES.filter(({ sort, words }) => sorts.has(sort) && !words.some((word) => said.has(word)));
}

/** A taught fact: the template of its question, and the answer. */
export interface TaughtTemplate {
  readonly template: string;
  readonly answer: string;
}

/**
 * Which attribute a template asks for, as far as rows tell: templates that got the same answer ask for the same. A fact's
 * wordings are so known as one, whoever they were used for.
 */
function attributeClasses(taught: readonly TaughtTemplate[]): (template: string) => string {
  const parent = new Map<string, string>();
  const root = (key: string): string => {
    let at = key;
    while (parent.has(at)) at = parent.get(at)!;
    return at;
  };
  for (const { template, answer } of taught) {
    const [a, b] = [root(template), root(`answer: ${answer}`)];
    if (a !== b) parent.set(b, a);
  }
  return root;
}

/**
 * What others of an entity's kind were taught by these templates, and it was not. One shared attribute makes a kind. What
 * somebody was asked in vain is asked of nobody else: the other may have been taught it in other words.
 */
export function missingTemplates(
  own: readonly TaughtTemplate[],
  others: readonly (readonly TaughtTemplate[])[],
): string[] {
  const classOf = attributeClasses([own, ...others].flat());
  const has = new Set(own.map(({ template }) => classOf(template)));
  const kin = others.filter((other) => other.some(({ template }) => has.has(classOf(template))));
  const missing = kin.flat().filter(({ template }) => !has.has(classOf(template)));
  return [...new Set(missing.map(({ template }) => template))];
}
