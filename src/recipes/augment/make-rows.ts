import type { JsonObject } from "../../data/fields.js";
import { readSource } from "../../data/sources/index.js";
import { type Platform, readChunks } from "../../platform/platform.js";
import { UserError } from "../../tensor/index.js";
import { random } from "../../tensor/random.js";
import type { LoadedModel } from "../model.js";
import { type Entity, findEntities, givenEntities, isAbout } from "./entities.js";
import { knownRows } from "./known.js";
import { linesOf } from "./lines.js";
import { type AskChat, type ModelWordings, modelWordings } from "./model-wordings.js";
import { commonEnding, type QaRow, qaRow, signed } from "./qa-row.js";
import { SAME_QUESTION } from "./same-question.js";
import { type Made, makeTwins, rewordedFacts, type Wordings } from "./twins.js";
import { TURNED, written } from "./wordings.js";

/** What rows are made of, and what of. */
export interface RowsRequest {
  /** Rows of one question and its answer each: messages, prompt and completion, or instruction and output. */
  readonly data: string;
  /** Share of all rows that answer "I don't know" afterwards. Default 0.3. */
  readonly abstain?: number;
  /** The answer to what is not known. Default: the refusal that the rows have most, else "I don't know."; their sign-off follows. */
  readonly refusal?: string;
  /** File of names, one a line, where capitalised words do not tell them. Default: they are found. */
  readonly entities?: string;
  /** File of wordings, one a line with `{question}` in it: further ways to ask. Default: none. */
  readonly wordings?: string;
  /** Wordings of each taught question that are kept of what `ask` says. Default 3. */
  readonly wordingsPerQuestion?: number;
  /** In so many further wordings, made by rule, each fact is asked. Default 0. */
  readonly rewordings?: number;
  /** File of questions, one a line, that the base answers itself, or `true` for everyday ones; needs `model`. Default: none. */
  readonly known?: string | true;
  /** Default 0. */
  readonly seed?: number;
}

export interface MakeContext {
  /** The base that answers the known questions. Default: none, and `known` is refused. */
  readonly model?: LoadedModel;
  /** Asks a model for other wordings of the taught questions (`openAIChat`). Default: none are asked for. */
  readonly ask?: AskChat;
  /** Aborting ends the answering of known questions, and the asking for wordings. */
  readonly signal?: AbortSignal;
  /** So many times the twins that the share asks for are made. Default 1. */
  readonly variety?: number;
}

/** The rows that were given, what was made of them, and what there is to say about it. */
export interface MadeRows {
  readonly given: readonly JsonObject[];
  readonly reworded: readonly Made[];
  readonly twins: readonly Made[];
  readonly known: readonly Made[];
  /** What the base itself answers to known questions, right or not, without the sign-off. */
  readonly answers: readonly JsonObject[];
  readonly entities: readonly Entity[];
  readonly refusal: string;
  readonly ending: string;
  readonly warnings: readonly string[];
}

/** Makes rows out of rows. Throws UserError when no row is a question and its answer, and for files that are not as they should be. */
export async function makeRows(
  request: RowsRequest,
  platform: Platform,
  { model, ask, signal, variety = 1 }: MakeContext = {},
): Promise<MadeRows> {
  const { data, abstain = 0.3, seed = 0 } = request;
  if (request.known !== undefined && !model) throw new UserError("known questions are answered by the base: give one");
  const given = await readObjects(platform, data);
  const rows = given.flatMap((row) => qaRow(row, request.refusal) ?? []);
  if (rows.length === 0)
    throw new UserError(`${data}: no row is one question and its answer; that is what twins are made of`);
  const entities = await entitiesOf(request, platform, rows);
  const wordings = await wordingsOf(request, platform);
  const ending = commonEnding(rows.map(({ answer }) => answer));
  const refusal = refusalOf(rows, ending, request.refusal);
  const context = { rows, ending, wordings, rng: random(seed, "augment", "known"), signal };
  const asked = request.known && (await knownRows(request.known, platform, { ...context, model: model! }));
  const known = asked ? asked.rows : [];
  const worded = ask
    ? await modelWordings(rows, entities, { ask, count: request.wordingsPerQuestion ?? 3, seed, signal })
    : { rows: [], leftOut: {} };
  const reworded = [
    ...worded.rows.map(({ like, question, answer }): Made => ({ kind: "wording", row: like(question, answer) })),
    ...rewordedFacts(rows, wordings, random(seed, "augment", "wordings")),
  ];
  const refused = rows.filter(({ refused }) => refused).length;
  const wanted = (abstain * (given.length + reworded.length + known.length) - refused) / (1 - abstain);
  const count = Math.max(0, Math.ceil(wanted)) * variety;
  const twins = makeTwins(
    [...rows, ...worded.rows],
    entities,
    { count, refusal, wordings, ending },
    random(seed, "augment", "twins"),
  );
  const found = { data, given, rows, entities, wanted: wanted * variety, refused, twins };
  const warnings = [...warningsOf(found), ...wordingWarnings(worded)];
  const answers = asked ? asked.answers : [];
  return { given, reworded, twins, known, answers, entities, refusal, ending, warnings };
}

async function readObjects({ files, resolveData }: Platform, path: string): Promise<JsonObject[]> {
  const rows: JsonObject[] = [];
  for await (const { value, line, error } of readSource(readChunks(files, resolveData(path)), path)) {
    if (!value) throw new UserError(`${path}:${line}: ${error}`);
    rows.push(value);
  }
  return rows;
}

async function entitiesOf(
  { data, entities: file }: RowsRequest,
  platform: Platform,
  rows: readonly QaRow[],
): Promise<Entity[]> {
  const questions = rows.map(({ question }) => question);
  const texts = rows.flatMap(({ question, answer }) => [question, answer]);
  if (!file) return findEntities(questions, texts);
  const found = givenEntities(questions, await linesOf(platform, file));
  if (found.length > 0) return found;
  throw new UserError(`${file}: none of its names is in a question of ${data}`);
}

async function wordingsOf({ wordings: file, rewordings = 0 }: RowsRequest, platform: Platform): Promise<Wordings> {
  const lines = file ? await linesOf(platform, file) : [];
  const without = lines.find((line) => !line.includes("{question}"));
  if (without !== undefined)
    throw new UserError(`${file}: '${without}' has no {question} in it, where the question goes`);
  return {
    ways: [...lines.map(written), ...(rewordings > 0 ? TURNED : [])],
    same: rewordings > 0 ? SAME_QUESTION : [],
    each: lines.length + rewordings,
  };
}

function refusalOf(rows: readonly QaRow[], ending: string, asked: string | undefined): string {
  const counts = new Map<string, number>();
  for (const { answer, refused } of rows) if (refused) counts.set(answer, (counts.get(answer) ?? 0) + 1);
  const [most] = [...counts].sort(([, a], [, b]) => b - a);
  if (asked === undefined && most) return most[0];
  return signed(asked ?? "I don't know.", ending);
}

/** What was no use of a model's wordings. */
function wordingWarnings({ rows, leftOut }: ModelWordings): string[] {
  const reasons = Object.entries(leftOut).map(([reason, count]) => `${count} ${reason}`);
  return reasons.length === 0
    ? []
    : [`wordings: ${rows.length} are kept of what the model wrote; ${reasons.join(", ")}`];
}

interface Findings {
  readonly data: string;
  readonly given: readonly JsonObject[];
  readonly rows: readonly QaRow[];
  readonly entities: readonly Entity[];
  readonly wanted: number;
  readonly refused: number;
  readonly twins: readonly Made[];
}

function warningsOf({ data, given, rows, entities, wanted, refused, twins }: Findings): string[] {
  const taught = rows.filter(({ refused }) => !refused);
  const nameless = taught.filter(({ question }) => !entities.some(({ name }) => isAbout(question, name)));
  const others = given.length - rows.length;
  return [
    ...(others > 0 ? [`${data}: ${others} rows are not one question and its answer; they are copied as they are`] : []),
    ...(entities.length > 0 && nameless.length > 0
      ? [
          `${data}: ${nameless.length} of ${taught.length} taught questions name none of the entities, such as '${nameless[0]!.question}'; unknown names are not asked for what they teach`,
        ]
      : []),
    ...(wanted <= 0 ? [`${data}: ${refused} rows answer "I don't know" already; no twins were needed`] : []),
    ...(entities.length > 0 && twins.length < Math.floor(wanted)
      ? [`only ${twins.length} of ${Math.floor(wanted)} twins could be made`]
      : []),
  ];
}

/** What is said where no question names anything. */
export const namesNobody = (data: string): string =>
  `${data}: no question names anybody or anything that another names too (capitalised words are names), so there is nothing to make twins of; give the names, one a line, as entities`;
