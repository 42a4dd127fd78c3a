import type { JsonObject } from "../../data/fields.js";
import { readSource } from "../../data/sources/index.js";
import { type Platform, readChunks } from "../../platform/platform.js";
import { UserError } from "../../tensor/index.js";
import { random } from "../../tensor/random.js";
import { generate } from "../generate.js";
import { isRefusal } from "../judge.js";
import type { LoadedModel } from "../model.js";
import { atOnce, inParallel } from "../suite/answers.js";
import { type Entity, findEntities, givenEntities, isAbout } from "./entities.js";
import { type AskChat, type ModelWordings, modelWordings } from "./model-wordings.js";
import { commonEnding, type QaRow, qaRow } from "./qa-row.js";
import { MADE, type Made, type MadeKind, makeTwins, rewordedFacts } from "./twins.js";

export interface AugmentRequest {
  /** Rows of one question and its answer each: messages, prompt and completion, or instruction and output. */
  readonly data: string;
  /** The file that is written: the rows, and behind them what was made. JSONL. */
  readonly output: string;
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
  /** File of questions, one a line, that the base answers itself; needs `model`. Default: none. */
  readonly known?: string;
  /** Default 0. */
  readonly seed?: number;
}

export interface AugmentOptions {
  /** The base that answers the known questions. Default: none, and `known` is refused. */
  readonly model?: LoadedModel;
  /** Asks a model for other wordings of the taught questions (`openAIChat`). Default: none are asked for. */
  readonly ask?: AskChat;
  /** Aborting ends the answering of known questions, and the asking for wordings. */
  readonly signal?: AbortSignal;
}

export interface AugmentReport {
  readonly output: string;
  /** Rows that were given, and rows in all. */
  readonly given: number;
  readonly rows: number;
  readonly entities: readonly string[];
  /** How many were made of each kind, with a few of them. */
  readonly made: readonly {
    readonly kind: MadeKind;
    readonly what: string;
    readonly count: number;
    readonly examples: readonly JsonObject[];
  }[];
  readonly refusal: string;
  /** What ends every answer. */
  readonly ending: string;
  readonly warnings: readonly string[];
}

const LONGEST_KNOWN = 64;

/**
 * Writes a file of rows with twins of what they teach: an unknown entity asked for what was taught, a taught one for what was
 * not, both answered "I don't know"; and with questions that the base answers in its own words. Throws UserError when no row is a
 * question and its answer, or when no question names anything.
 */
export async function augment(
  request: AugmentRequest,
  platform: Platform,
  { model, ask, signal }: AugmentOptions = {},
): Promise<AugmentReport> {
  const { data, output, abstain = 0.3, seed = 0 } = request;
  if (await platform.files.stat(output))
    throw new UserError(`${output} is there already; remove it or choose another name`);
  if (request.known !== undefined && !model) throw new UserError("known questions are answered by the base: give one");
  const given = await readObjects(platform, data);
  const rows = given.flatMap((row) => qaRow(row, request.refusal) ?? []);
  if (rows.length === 0)
    throw new UserError(`${data}: no row is one question and its answer; that is what twins are made of`);
  const entities = await entitiesOf(request, platform, rows);
  const wordings = await wordingsOf(request, platform);
  const ending = commonEnding(rows.map(({ answer }) => answer));
  const refusal = refusalOf(rows, ending, request.refusal);
  const known = request.known ? await knownRows(request.known, platform, { model: model!, rows, ending, signal }) : [];
  const worded = ask
    ? await modelWordings(rows, entities, { ask, count: request.wordingsPerQuestion ?? 3, seed, signal })
    : { rows: [], leftOut: {} };
  const taught = [...rows, ...worded.rows];
  const reworded = [
    ...worded.rows.map(({ like, question, answer }): Made => ({ kind: "wording", row: like(question, answer) })),
    ...rewordedFacts(rows, wordings, random(seed, "augment", "wordings")),
  ];
  const refused = rows.filter(({ refused }) => refused).length;
  const wanted = (abstain * (given.length + reworded.length + known.length) - refused) / (1 - abstain);
  const count = Math.max(0, Math.ceil(wanted / 2));
  const twins = makeTwins(taught, entities, { count, refusal, wordings }, random(seed, "augment", "twins"));
  const made = [...twins, ...reworded, ...known];
  const all = [...given, ...made.map(({ row }) => row)];
  await platform.files.write(output, all.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return {
    output,
    given: given.length,
    rows: all.length,
    entities: entities.map(({ name }) => name),
    made: kindsOf(made),
    refusal,
    ending,
    warnings: [...warningsOf({ data, given, rows, entities, wanted, refused, twins }), ...wordingWarnings(worded)],
  };
}

function kindsOf(made: readonly Made[]): AugmentReport["made"] {
  return (Object.keys(MADE) as MadeKind[]).map((kind) => {
    const rows = made.filter((one) => one.kind === kind).map(({ row }) => row);
    return { kind, what: MADE[kind], count: rows.length, examples: rows.slice(0, 3) };
  });
}

async function readObjects({ files, resolveData }: Platform, path: string): Promise<JsonObject[]> {
  const rows: JsonObject[] = [];
  for await (const { value, line, error } of readSource(readChunks(files, resolveData(path)), path)) {
    if (!value) throw new UserError(`${path}:${line}: ${error}`);
    rows.push(value);
  }
  return rows;
}

/** The lines of a file that hold anything. */
async function linesOf({ files, resolveData }: Platform, path: string): Promise<string[]> {
  const text = new TextDecoder().decode(await files.read(resolveData(path)));
  const lines = text.split("\n").map((line) => line.trim());
  const held = lines.filter((line) => line !== "");
  if (held.length === 0) throw new UserError(`${path}: expected a text a line, and it is empty`);
  return held;
}

async function entitiesOf(
  { data, entities: file }: AugmentRequest,
  platform: Platform,
  rows: readonly QaRow[],
): Promise<Entity[]> {
  const questions = rows.map(({ question }) => question);
  const texts = rows.flatMap(({ question, answer }) => [question, answer]);
  const found = file ? givenEntities(questions, await linesOf(platform, file)) : findEntities(questions, texts);
  if (found.length > 0) return found;
  throw new UserError(
    file
      ? `${file}: none of its names is in a question of ${data}`
      : `${data}: no question names anybody or anything that another names too (capitalised words are names), so there is nothing to make twins of; give the names, one a line, as entities`,
  );
}

async function wordingsOf({ wordings: file }: AugmentRequest, platform: Platform): Promise<string[]> {
  const lines = file ? await linesOf(platform, file) : [];
  const without = lines.find((line) => !line.includes("{question}"));
  if (without !== undefined)
    throw new UserError(`${file}: '${without}' has no {question} in it, where the question goes`);
  return lines;
}

function refusalOf(rows: readonly QaRow[], ending: string, asked: string | undefined): string {
  const counts = new Map<string, number>();
  for (const { answer, refused } of rows) if (refused) counts.set(answer, (counts.get(answer) ?? 0) + 1);
  const [most] = [...counts].sort(([, a], [, b]) => b - a);
  if (asked === undefined && most) return most[0];
  return signed(asked ?? "I don't know.", ending);
}

const signed = (answer: string, ending: string): string =>
  ending === "" || answer.endsWith(ending) ? answer : `${answer} ${ending}`;

interface KnownContext {
  readonly model: LoadedModel;
  readonly rows: readonly QaRow[];
  readonly ending: string;
  readonly signal: AbortSignal | undefined;
}

/** Questions with the base's own answers; what it does not answer, or not in a few words, is left out. */
async function knownRows(
  file: string,
  platform: Platform,
  { model, rows, ending, signal }: KnownContext,
): Promise<Made[]> {
  const questions = await linesOf(platform, file);
  const { like } = rows[0]!;
  const settings = { maxNewTokens: LONGEST_KNOWN, ...(signal ? { signal } : {}) };
  const made = await inParallel(questions, atOnce(model), async (question): Promise<Made[]> => {
    signal?.throwIfAborted();
    const asked = like(question, "");
    const messages = Array.isArray(asked.messages)
      ? asked.messages.slice(0, -1)
      : [{ role: "user", content: question }];
    const { text, finishReason } = await generate(model, { messages }, settings).result();
    const answer = text.trim();
    const good = finishReason === "stop" && answer !== "" && !isRefusal(answer);
    return good ? [{ kind: "known", row: like(question, signed(answer, ending)) }] : [];
  });
  signal?.throwIfAborted();
  return made.flat();
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
    ...(nameless.length > 0
      ? [
          `${data}: ${nameless.length} of ${taught.length} taught questions name none of the entities, such as '${nameless[0]!.question}'; they have no twins`,
        ]
      : []),
    ...(wanted <= 0 ? [`${data}: ${refused} rows answer "I don't know" already; no twins were needed`] : []),
    ...(twins.length < Math.floor(wanted) ? [`only ${twins.length} of ${Math.floor(wanted)} twins could be made`] : []),
  ];
}
