import type { EncodeContext } from "./encode-batch.js";
import type { RowReader } from "./row-reader.js";
import { shown } from "./shown.js";
import { quotesArguments } from "./template-fit.js";

/** Names of fields that a note gives in full. */
const mostNamed = 20;

/** What was counted while rows were read. */
export interface Counted {
  /** Rows that got an EOS that the chat template does not write. */
  readonly addedEnd: number;
  /** Rows that are conversations. */
  readonly chats: number;
  /** Rows that became a sample for each of their turns. */
  readonly turnByTurn: number;
  /** Roles of messages that the chat template left out. */
  readonly unwritten: ReadonlySet<string>;
  /** Fields of messages that the chat template does not read. */
  readonly unread: readonly string[];
}

/** What there is to say about rows that were read: sentences without a full stop. */
export function datasetNotes(
  { tokenizer, chat }: EncodeContext,
  { format, seen }: RowReader,
  { addedEnd, chats, turnByTurn, unwritten, unread }: Counted,
): string[] {
  const notes: string[] = [];
  if (seen.unused.size > 0) notes.push(`fields of rows that nothing reads: ${listed(seen.unused)}: not used`);
  if (chats === 0) return notes;
  const { source } = chat!();
  if (unread.length > 0) notes.push(`fields that the chat template does not read: ${listed(unread)}: not used`);
  if (turnByTurn > 0) {
    notes.push(
      `the chat template writes a turn differently once more follow: of ${turnByTurn} rows every turn is a sample of its own, which ends with it`,
    );
  }
  if (unwritten.size > 0) {
    notes.push(`what messages of these roles say is not in what the chat template writes: ${listed(unwritten)}`);
  }
  if (seen.textArguments && quotesArguments(source)) {
    notes.push(
      "tool_calls have their arguments as JSON text, and the chat template writes them through tojson: quoted, as with transformers. Give them as objects, or set data.format to openai_tools",
    );
  }
  if (format === "alpaca") {
    notes.push(
      `${chats} rows have system, history or tools: they go through the chat template, the others into Alpaca's prompt`,
    );
  }
  if (addedEnd > 0) {
    notes.push(
      `the chat template ends answers with no token of its own: EOS was put after the last one of ${addedEnd} rows`,
    );
  }
  if (tokenizer.addsBos && !/bos_token/.test(source)) {
    notes.push("the chat template writes no BOS, so conversations have none, as in transformers and vLLM");
  }
  return notes;
}

function listed(names: Iterable<string>): string {
  const all = [...names];
  const more = all.length > mostNamed ? `, and ${all.length - mostNamed} more` : "";
  return (
    all
      .slice(0, mostNamed)
      .map((name) => shown(name))
      .join(", ") + more
  );
}
