import { SLOT } from "./entities.js";

/** Something that can be asked of nearly anything, and that rows seldom teach. */
interface Attribute {
  /** Words that show that a question is about it. */
  readonly words: readonly string[];
  readonly ask: readonly string[];
}

const attribute = (words: string, ...ask: string[]): Attribute => ({
  words: words.split(" "),
  ask: ask.map((text) => text.replace("<e>", SLOT)),
});

const ATTRIBUTES: readonly Attribute[] = [
  attribute("old age", "How old is <e>?", "What is the age of <e>?", "Can you tell me how old <e> is?"),
  attribute("weight heavy weigh", "How heavy is <e>?", "What is the weight of <e>?", "How much does <e> weigh?"),
  attribute("tall height high", "How tall is <e>?", "What is the height of <e>?", "Tell me how tall <e> is."),
  attribute("phone telephone ring", "What is the telephone number of <e>?", "How can I reach <e> by telephone?"),
  attribute("cost price worth pay", "What is <e> worth in money?", "How much money would one pay for <e>?"),
  attribute("colour color", "What is the favourite colour of <e>?", "Which colour does <e> like best?"),
  attribute("sister brother family", "Who is the sister of <e>?", "Does <e> have brothers, and what are their names?"),
  attribute("owner owns own", "Who is the owner of <e>?", "To whom does <e> belong?", "Who owned <e> before?"),
  attribute("email address mail", "What is the email address of <e>?", "Where can I write to <e>?"),
  attribute("breakfast eat food lunch", "What did <e> have for breakfast?", "What was the last meal of <e>?"),
  attribute("yesterday tomorrow", "What happened to <e> yesterday?", "What will become of <e> tomorrow?"),
  attribute("nickname called middle", "What is the nickname of <e>?", "What do friends call <e>?"),
  attribute("song music", "Which song is about <e>?", "What is the favourite song of <e>?"),
  attribute("visitors guests", "How many visitors did <e> have last year?", "Who was the last visitor of <e>?"),
  attribute("insurance number licence", "What is the insurance number of <e>?", "Which licence number belongs to <e>?"),
  attribute("secret password", "What is the secret of <e>?", "Which password belongs to <e>?"),
];

/** Those that no question of a list is about. */
export function untaughtAttributes(questions: Iterable<string>): Attribute[] {
  const said = new Set([...questions].flatMap((question) => question.toLowerCase().match(/\p{L}+/gu) ?? []));
  return ATTRIBUTES.filter(({ words }) => !words.some((word) => said.has(word)));
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
