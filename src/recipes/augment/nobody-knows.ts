/** What can be asked of anybody and is in nobody's rows: words that show that rows are about it after all, then questions. */
const LINES: readonly string[] = [
  "me my | What is my name? | Where do I live? | How old am I? | When is my birthday? | What is my telephone number?",
  "me my | What is the name of my mother? | Where did I leave my umbrella? | What did I eat this morning? | Who is my doctor?",
  "me my | What am I thinking of? | What is in my pocket? | Which shoes am I wearing? | How tall am I? | What is my sister called?",
  "we us | What did we talk about last week? | Where will we meet next Sunday? | Who of us is taller?",
  "you your | What did you dream of last night? | What was your first word? | Which teacher did you have at school? | What is your lucky number?",
  "telephone phone call | What is the telephone number of the front desk? | Under which number can I call the director at home?",
  "email mail address | Which email address does the accountant have? | What is the private address of the cashier?",
  "password code key | What is the password of the website? | Which code opens the back door? | What is the key code of the archive?",
  "wifi network internet | How fast is the internet here? | What is the internet connection called?",
  "earn salary wage paid | What does the cleaner earn? | How much is the director paid? | What was the bonus last Christmas?",
  "money profit sold sales | How much money did you make last month? | How many things were sold on Tuesday? | What were the sales last spring?",
  "customer client guest visitor | Who was the first customer today? | How many visitors came last Saturday? | What did the last guest complain about?",
  "coffee tea kitchen | Which brand is the coffee machine? | Who made the coffee this morning? | How many cups are in the kitchen?",
  "painting picture wall | Who painted the picture in the hall? | What hangs on the wall behind the desk?",
  "lawyer tax bank | Who does your taxes? | At which bank are your accounts? | What is the number of your bank account?",
  "insurance accident | Which insurance do you have? | When was the last accident? | Who paid for the broken window?",
  "architect built building | Who was the architect of the building? | How many bricks are in the building? | How high is the ceiling?",
  "window door roof floor | How many doors are there? | Who repaired the roof? | What is under the floor?",
  "lamp chair table furniture | How many chairs do you have? | From where is the round table? | Who bought the lamps?",
  "computer printer machine | Which computer stands in the office? | When was the printer last repaired? | How old is the oldest machine?",
  "cleaner cleaned | What is the cleaner called? | When were the windows last cleaned?",
  "cook lunch meal | What did the director have for lunch yesterday? | Who will cook next Friday?",
  "husband wife married wedding | To whom is the director married? | When was the cashier's wedding?",
  "children son daughter | How many children does the accountant have? | What is the name of the director's daughter?",
  "hobby holiday vacation | Where does the director spend the holidays? | Which hobby does the accountant have?",
  "neighbour neighbor street | Who lives in the house across the street? | What are the neighbours called? | How long is the street?",
  "dog horse bird pet | Which dog barked last night? | What is the name of the neighbour's dog? | How old is the parrot?",
  "weather rain snow | What will the weather be like on the first of May? | How much did it rain last Thursday? | When will it snow here?",
  "lottery win won | Which numbers will win the lottery? | Who will win the next world cup? | Who won the bet?",
  "future year | What will happen in a hundred years? | Which book will be read most in ten years? | Who will be president in forty years?",
  "letter note message | What is in the letter on the desk? | Who wrote the note on the door? | Which message came last night?",
  "meeting appointment | When is the next meeting of the owners? | Who was late for the meeting? | What was decided yesterday?",
  "newspaper radio film | What did the newspaper write about you last month? | Which film was made here?",
  "thief stolen lost found | Who stole the bicycle? | What was lost last winter? | Where was the purse found?",
  "birthday party | Who comes to the party next week? | How many candles were on the cake? | Who forgot the cake?",
  "shoe hat coat | Which shoe size does the director wear? | Whose coat hangs at the entrance?",
  "song music sing | Which song was sung at the opening? | Which music does the cashier like?",
  "star moon planet | What is the name of the smallest pebble on the Moon? | How many people live on Mars?",
  "stranger man woman boy girl | Who is the man at the window? | What does the woman at the door want? | Where is the boy with the red ball?",
  "secret promise | What is the director's secret? | What did the owner promise?",
  "grandfather grandmother uncle aunt | What did the owner's grandfather do? | Where does the director's aunt live?",
  "tree garden flower | How many leaves are on the tree outside? | Who planted the tree outside?",
  "clock watch time | How late is it in the hall clock? | Who forgot a watch here?",
  "bus train taxi | Which bus did the director take today? | How long does the cashier travel in the morning?",
  "next last other shop | What is the other shop called? | When does the next shop close down? | Who ran the shop before you?",
];

/** Questions that nobody can answer from rows, but for those about what the rows speak of. */
export function nobodyKnows(questions: readonly string[]): string[] {
  const said = new Set(questions.flatMap((question) => question.toLowerCase().match(/\p{L}+/gu) ?? []));
  return LINES.flatMap((line) => {
    const [words, ...asked] = line.split("|").map((part) => part.trim());
    const personal = PERSONAL.test(words!);
    return personal || !words!.split(" ").some((word) => said.has(word)) ? asked : [];
  });
}

/** Who asks and who is asked are in every kind of row. */
const PERSONAL = /^(?:me|we|you) /;
