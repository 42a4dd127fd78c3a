import type { ReplyOf } from "../../../src/studio/backend.js";
import { whole } from "../format.js";
import { Card, Stat, Stats } from "../ui/parts.js";

type Rows = ReplyOf<"rows">;

/** What was read: counts, lengths, what was cut or left out, duplicates, leaks. */
export function Findings({ reply }: { readonly reply: Rows }) {
  const { tokens, targets, samples, steps_per_epoch, files, dropped, duplicates, leaks } = reply;
  const truncated = files.reduce((sum, file) => sum + file.truncated, 0);
  return (
    <Card title="What is in it">
      <Stats>
        <Stat name="trained on" value={whole(samples.train)} />
        {samples.validation > 0 && <Stat name="held back" value={whole(samples.validation)} />}
        <Stat name="tokens" value={whole(tokens)} />
        <Stat
          name="of them learned"
          value={`${whole(targets)} (${Math.round((100 * targets) / Math.max(1, tokens))} %)`}
        />
        <Stat name="steps an epoch" value={whole(steps_per_epoch)} />
      </Stats>
      <Histogram reply={reply} />
      <ul class="findings">
        <Finding good={truncated === 0}>
          {truncated === 0 ? "No row was cut" : `${counted(truncated)} cut to ${reply.max_seq_len} tokens`}
        </Finding>
        <Finding good={dropped.count === 0}>
          {dropped.count === 0 ? "No row was left out" : `${counted(dropped.count)} left out`}
          {dropped.count > 0 && (
            <ul>
              {dropped.rows.slice(0, 8).map(({ line, reason }) => (
                <li key={line}>
                  line {line}: {reason}
                </li>
              ))}
            </ul>
          )}
        </Finding>
        <Finding good={duplicates.count === 0}>
          {duplicates.count === 0
            ? "No row is there twice"
            : `${counted(duplicates.count)} there more than once: ${duplicates.rows
                .slice(0, 4)
                .map(
                  (same) =>
                    `${same
                      .slice(0, 5)
                      .map((n) => n + 1)
                      .join(" = ")}${same.length > 5 ? " = …" : ""}`,
                )
                .join("; ")}`}
        </Finding>
        {samples.validation > 0 && (
          <Finding good={leaks.count === 0}>
            {leaks.count === 0
              ? "No row that is held back is trained on"
              : `${whole(leaks.count)} of the rows that are held back are trained on: ${leaks.rows
                  .slice(0, 4)
                  .map(({ validation, train, what }) => `${what} ${validation + 1} as ${train + 1}`)
                  .join("; ")}`}
          </Finding>
        )}
      </ul>
      <details>
        <summary>Everything that was said about the rows</summary>
        <ul>
          {reply.messages.map((line) => (
            <li key={line}>{line}</li>
          ))}
        </ul>
      </details>
    </Card>
  );
}

const counted = (count: number): string => (count === 1 ? "1 row is" : `${whole(count)} rows are`);

function Finding({ good, children }: { readonly good: boolean; readonly children: preact.ComponentChildren }) {
  return (
    <li class={good ? "good" : "look"}>
      <span class="unseen">{good ? "fine: " : "look: "}</span>
      {children}
    </li>
  );
}

/** Lengths in tokens. */
function Histogram({ reply: { histogram } }: { readonly reply: Rows }) {
  const most = Math.max(1, ...histogram.map(({ count }) => count));
  const range = ({ from, to }: { from: number; to: number }) => (from === to ? `${from}` : `${from}–${to}`);
  const words = histogram.map((bin) => `${range(bin)} tokens: ${bin.count}`).join(", ");
  return (
    <figure>
      <figcaption>Lengths in tokens</figcaption>
      <div class="bars" role="img" aria-label={`Lengths in tokens: ${words}`}>
        {histogram.map((bin) => (
          <div key={bin.from} class="bar" title={`${range(bin)} tokens: ${bin.count}`}>
            <small>{bin.count || ""}</small>
            <i style={{ height: `${(100 * bin.count) / most}%` }} />
            <small>{range(bin)}</small>
          </div>
        ))}
      </div>
    </figure>
  );
}

/** Rows token by token; of a pair both answers side by side. Whatever stands in a row is shown as text. */
export function RowsShown({ rows }: { readonly rows: Rows["page"] }) {
  return (
    <>
      <p class="legend">
        <span class="token learned">learned</span> <span class="token">read, not learned</span>
      </p>
      <ol class="rows">
        {rows.map(({ index, sequences }) => (
          <li key={`${index}-${sequences.length}`} class={sequences.length > 1 ? "pair" : ""}>
            {sequences.map(({ side, tokens }) => (
              <div key={side ?? ""} class="sequence">
                <p class="row-name">
                  row {index + 1}
                  {side ? `, ${side}` : ""} <small>{tokens.length} tokens</small>
                </p>
                <Tokens tokens={tokens} />
              </div>
            ))}
          </li>
        ))}
      </ol>
    </>
  );
}

function Tokens({ tokens }: { readonly tokens: Rows["page"][number]["sequences"][number]["tokens"] }) {
  return (
    <p class="tokens">
      {tokens.map(([text, mark], i) => (
        <span key={i} class={mark === 1 ? "token learned" : "token"}>
          {visible(text)}
        </span>
      ))}
    </p>
  );
}

/** A token's line ends are seen, and still end lines. */
const visible = (text: string): string => text.replace(/\n/g, "⏎\n").replace(/\t/g, "⇥\t");
