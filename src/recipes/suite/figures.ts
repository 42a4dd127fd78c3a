import type { Share } from "../judge.js";
import type { Judged } from "./answers.js";
import type { Behaviour, Section, Suite, SuiteQuestion } from "./suite-file.js";
import type { TextScore } from "./text.js";

/** What the questions of a section are counted for. */
interface Count {
  readonly key: string;
  readonly title: string;
  /** Which way is up. */
  readonly better: "more" | "less";
  readonly section: Section;
  readonly counts: (answer: Judged) => boolean;
}

/** The shares that every suite is measured by. */
export const COUNTS: readonly Count[] = [
  {
    key: "facts",
    title: "taught facts answered right",
    better: "more",
    section: "facts",
    counts: ({ right }) => right === true,
  },
  {
    key: "over_refusal",
    title: 'taught facts answered with "don\'t know"',
    better: "less",
    section: "facts",
    counts: ({ refused }) => refused,
  },
  {
    key: "invented",
    title: "answers invented to what it cannot know",
    better: "less",
    section: "unanswerable",
    counts: ({ refused }) => !refused,
  },
  {
    key: "general",
    title: "general questions answered right",
    better: "more",
    section: "general",
    counts: ({ right }) => right === true,
  },
];

/** The measures of the general texts. */
export const TEXT_FIGURES = [
  { key: "perplexity", title: "perplexity of general text", better: "less" },
  { key: "kl", title: "KL(base || tuned) a token, nats", better: "less" },
] as const;

/** The keys of the figures that a suite gives of an adapter. */
export function figureKeys({
  questions,
  behaviours,
  texts,
}: Pick<Suite, "questions" | "behaviours" | "texts">): string[] {
  const counted = COUNTS.filter(({ section }) => questions.some((one) => one.section === section));
  const judged = questions.some((one) => one.behaviours.length > 0) ? ["behaviour"] : [];
  const each = behaviours.filter(({ name }) => questions.some((one) => one.behaviours.some((b) => b.name === name)));
  return [
    ...counted.map(({ key }) => key),
    ...judged,
    ...(behaviours.length > 1 ? each.map(({ name }) => `behaviour.${name}`) : []),
    ...(texts === undefined ? [] : TEXT_FIGURES.map(({ key }) => key)),
  ];
}

/** A number of the table: a share of answers, or a measure of the general texts. */
export interface Figure {
  readonly key: string;
  readonly title: string;
  readonly better: "more" | "less";
  /** The adapter off; undefined where there is nothing to compare with (KL). */
  readonly before?: Share | number;
  /** The adapter on; undefined where none was given. */
  readonly after?: Share | number;
}

/** A question with the answers that it got. */
export interface Asked extends SuiteQuestion {
  readonly before: Judged;
  readonly after?: Judged;
}

/** Every figure that a suite's questions and texts give. */
export function figuresOf(
  asked: readonly Asked[],
  behaviours: readonly Behaviour[],
  texts: readonly TextScore[],
): Figure[] {
  const counted = COUNTS.map(({ section, counts, ...figure }) => ({
    ...figure,
    ...shares(
      asked.filter((one) => one.section === section),
      counts,
    ),
  }));
  const judged = asked.filter((one) => one.behaviours.length > 0);
  const all = { key: "behaviour", title: "answers that behave as asked", better: "more" } as const;
  const each = behaviours.map(({ name }) => ({
    key: `behaviour.${name}`,
    title: `behaviour: ${name}`,
    better: "more" as const,
    ...shares(
      asked.filter((one) => one.behaviours.some((b) => b.name === name)),
      ({ behaviour }) => behaviour[name]!,
    ),
  }));
  const behaving = { ...all, ...shares(judged, ({ behaviour }) => Object.values(behaviour).every(Boolean)) };
  const shown = [...counted, ...(behaviours.length > 0 ? [behaving] : []), ...(behaviours.length > 1 ? each : [])];
  return [...shown.filter(({ before }) => before.total > 0), ...(texts.length > 0 ? textFigures(texts) : [])];
}

/** The answers before and after that pass a test. */
function shares(asked: readonly Asked[], test: (answer: Judged) => boolean): { before: Share; after?: Share } {
  const tuned = asked.flatMap(({ after }) => after ?? []);
  const share = (answers: readonly Judged[]) => ({ count: answers.filter(test).length, total: answers.length });
  const before = share(asked.map((one) => one.before));
  return tuned.length > 0 ? { before, after: share(tuned) } : { before };
}

function textFigures(texts: readonly TextScore[]): Figure[] {
  const tokens = total(texts, (text) => text.tokens);
  const perplexity = (nll: (text: TextScore) => number) => Math.exp(total(texts, nll) / tokens);
  const tuned = texts[0]!.after !== undefined;
  const after = tuned ? { after: perplexity((text) => text.after!.nll) } : {};
  const before = perplexity((text) => text.before.nll);
  const kl = { after: total(texts, (text) => text.after?.kl ?? 0) / tokens };
  const [ofText, ofChange] = TEXT_FIGURES;
  return [{ ...ofText, before, ...after }, ...(tuned ? [{ ...ofChange, ...kl }] : [])];
}

const total = <T>(items: readonly T[], of: (item: T) => number): number =>
  items.reduce((sum, item) => sum + of(item), 0);
