import type { EncodeContext } from "./encode-batch.js";
import { shown } from "./fields.js";
import type { RowReader } from "./row-reader.js";
import { templateWords } from "./template-words.js";

/** Names of fields that a note gives in full. */
const mostNamed = 20;

/** What there is to say about rows that were read: sentences without a full stop. */
export function datasetNotes(
  { tokenizer, chat }: EncodeContext,
  { format, seen }: RowReader,
  { addedEnd, chats }: { readonly addedEnd: number; readonly chats: number },
): string[] {
  const notes: string[] = [];
  if (seen.unused.size > 0) notes.push(`fields that are not used: ${listed(seen.unused)}`);
  if (chats === 0) return notes;
  const { source } = chat!();
  const words = templateWords(source);
  const unnamed = [...seen.given].filter((name) => !words.has(name));
  if (unnamed.length > 0) {
    notes.push(
      `fields that the chat template does not read by name, so that what they say may be missing: ${listed(unnamed)}`,
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
  if (tokenizer.addsBos && !words.has("bos_token")) {
    notes.push("the chat template writes no BOS, so conversations have none, as in transformers and vLLM");
  }
  return notes;
}

function listed(names: Iterable<string>): string {
  const all = [...names];
  const more = all.length > mostNamed ? `, and ${all.length - mostNamed} more` : "";
  return all.slice(0, mostNamed).map(shown).join(", ") + more;
}
