import { SLOT } from "./entities.js";

/** Whom an attribute is asked of: anything, people, or places and things. */
export type Sort = "any" | "person" | "thing";

/** Something that can be asked of nearly anything, or anybody, and that rows seldom teach. */
export interface Attribute {
  readonly sort: Sort;
  /** Words that show that a question is about it. */
  readonly words: readonly string[];
  /** Templates of questions. */
  readonly ask: readonly string[];
}

/** Words; what is asked for, or nothing; then whole questions. <e> is who or what is asked about. */
const LINES: Readonly<Record<Sort, readonly string[]>> = {
  any: [
    "old age | the age of <e> | How old is <e>?",
    "weight heavy weigh | the weight of <e> | How heavy is <e>? | How much does <e> weigh?",
    "tall height high | the height of <e> | How tall is <e>?",
    "cost price worth value | the value of <e> | What is <e> worth in money?",
    "owner owns own belong | the owner of <e> | To whom does <e> belong? | Who owns <e>?",
    "email address mail write | the email address of <e> | Where can I write to <e>?",
    "nickname called friends | the nickname of <e> | What do friends call <e>?",
    "yesterday happened | | What happened to <e> yesterday?",
    "tomorrow plan plans future | the plans for the future of <e> | What is planned for <e> next year?",
    "visitors visitor guests | the number of visitors of <e> last year | Who was the last visitor of <e>?",
    "insurance insured | the insurance number of <e> | With whom is <e> insured?",
    "secret password | the secret of <e> | Which password belongs to <e>?",
    "photograph picture | | Who took the last photograph of <e>?",
    "website internet web | the web address of <e> | On which website do I find <e>?",
    "rival enemy | the greatest rival of <e> | Who is the enemy of <e>?",
    "motto | the motto of <e> | Which motto does <e> have?",
    "emblem symbol | the emblem of <e> | What is drawn on the emblem of <e>?",
    "debt debts owe | the debts of <e> | How much does <e> owe to the bank?",
    "lawyer | the name of the lawyer of <e> | Who is the lawyer of <e>?",
    "accident damaged | the date of the last accident of <e> | When did <e> last have an accident?",
    "inspection inspected | the date of the last inspection of <e> | Who inspected <e> last?",
    "famous fame | | What made <e> famous?",
    "neighbour neighbor | the name of the neighbour of <e> | Who lives next door to <e>?",
    "story legend | the legend about <e> | Which story do people tell about <e>?",
    "licence license | the licence number of <e> | Which licence does <e> have?",
    "colour color | the favourite colour of <e> | Which colour goes best with <e>?",
    "newspaper | | What did the newspaper write about <e>?",
    "enemies thief stolen | | What was stolen from <e>?",
  ],
  person: [
    "birthday born birth | the birthday of <e> | On which day was <e> born?",
    "sister brother siblings | the name of the sister of <e> | How many brothers does <e> have?",
    "married wife husband marry | the wedding day of <e> | To whom is <e> married?",
    "children son daughter | the number of children of <e> | How many children does <e> have?",
    "school university studied | the school of <e> | Which school did <e> go to?",
    "hobby evening weekend | the hobby of <e> | What does <e> do in the evening?",
    "breakfast food meal eat lunch | the favourite food of <e> | What did <e> have for breakfast?",
    "drink drinks | the favourite drink of <e> | What does <e> like to drink?",
    "hair | the hair colour of <e> | Which hair colour does <e> have?",
    "eyes | the eye colour of <e> | What colour are the eyes of <e>?",
    "doctor ill illness | the name of the doctor of <e> | When was <e> last ill?",
    "holiday holidays | the last holiday of <e> | Where did <e> go on holiday?",
    "church religion | the religion of <e> | To which church does <e> go?",
    "party vote | | For which party does <e> vote?",
    "language languages speak | the mother tongue of <e> | Which languages does <e> speak?",
    "dream wish | the greatest wish of <e> | What does <e> dream of?",
    "afraid fear | the greatest fear of <e> | What is <e> afraid of?",
    "hat clothes coat | the hat size of <e> | What kind of coat does <e> have?",
    "book read books | the favourite book of <e> | Which book is <e> reading?",
    "film | the favourite film of <e> | Which film did <e> see last?",
    "instrument | the instrument of <e> | Which instrument can <e> play?",
    "sport football | the favourite sport of <e> | Which sport does <e> do?",
    "friend friends | the name of the best friend of <e> | Who is the best friend of <e>?",
    "boss superior | the name of the boss of <e> | Who gives orders to <e>?",
    "hired employed joined | the first working day of <e> | Since when has <e> had this work?",
    "bank account | the bank account of <e> | At which bank does <e> have an account?",
    "passport | the passport number of <e> | When does the passport of <e> run out?",
    "middle | the middle name of <e> | Which middle name does <e> have?",
    "blood | the blood group of <e> | Which blood group does <e> have?",
    "street house | the street in which <e> lives | In which street is the house of <e>?",
    "father uncle aunt | the name of the father of <e> | What work did the father of <e> do?",
  ],
  thing: [
    "wide width | the width of <e> | How wide is <e>?",
    "deep depth | the depth of <e> | How deep is <e>?",
    "roof | the colour of the roof of <e> | Of what is the roof of <e>?",
    "window windows | the number of windows of <e> | How many windows does <e> have?",
    "made material | the material of <e> | What is <e> made of?",
    "built builder | the year in which <e> was built | Which firm built <e>?",
    "designed designer architect | the name of the designer of <e> | Who designed <e>?",
    "repaired repair repairs | the cost of the last repair of <e> | When was <e> last repaired?",
    "sold bought buyer | the name of the last buyer of <e> | To whom was <e> sold?",
    "electricity power | | How much electricity does <e> need?",
    "stairs steps floors floor | the number of floors of <e> | How many stairs lead up to <e>?",
    "cleaned cleans clean | | How often is <e> cleaned?",
    "noise loud | | How loud is <e>?",
    "named namesake | | After whom is <e> named?",
    "flag | the colour of the flag of <e> | Which flag flies over <e>?",
    "clock | | Who winds the clock of <e>?",
    "tree trees | the number of trees around <e> | Which trees stand around <e>?",
    "sea far distance | the distance from <e> to the sea | How far is <e> from the sea?",
    "award stars | the last award of <e> | Which award was given to <e>?",
    "staff workers employees | the number of people who work for <e> | How many people work for <e>?",
    "cellar basement | | What is kept in the cellar of <e>?",
    "statue | | Whose statue stands beside <e>?",
    "fire burned | the date of the fire at <e> | When was <e> damaged by fire?",
    "profit money income | the yearly income of <e> | How much profit does <e> make?",
    "floorboards carpet | the colour of the carpet in <e> | What lies on the floor of <e>?",
    "heating heated warm | | How is <e> heated in winter?",
    "mayor opened ceremony | the name of the first guest of <e> | Who spoke when <e> was opened?",
  ],
};

/** `nothing | How old is <e>?` and the like as templates; what is asked for is asked with "What is". */
function attributeOf(sort: Sort, line: string): Attribute {
  const [words, what, ...questions] = line.split("|").map((part) => part.trim());
  const ask = [...(what ? [`What is ${what}?`] : []), ...questions];
  return { sort, words: words!.split(" "), ask: ask.map((text) => text.replace("<e>", SLOT)) };
}

export const ATTRIBUTES: readonly Attribute[] = (Object.keys(LINES) as Sort[]).flatMap((sort) =>
  LINES[sort].map((line) => attributeOf(sort, line)),
);
