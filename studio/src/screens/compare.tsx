import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { ReplyOf } from "../../../src/studio/backend.js";
import { seconds, whole } from "../format.js";
import { at, useAction, useCall, useStudio } from "../state.js";
import { Card, Choice, Empty, Field, Problem, TextInput } from "../ui/parts.js";
import { SuiteCard } from "./suite.js";

/** Somebody who answers: the base, or an adapter. */
interface Speaker {
  /** A run's or checkpoint's folder; "": the base. */
  readonly folder: string;
  readonly scale: number;
}

type Run = ReplyOf<"runs">["runs"][number];

export function CompareScreen({ chosen }: { readonly chosen: readonly string[] }) {
  const { settings } = useStudio();
  const { reply, error } = useCall("runs", {});
  const withAdapter = reply?.runs.filter((run) => run.adapter || run.checkpoints.length > 0) ?? [];
  const first =
    withAdapter.find((run) => run.folder === chosen[0]) ??
    withAdapter.find((run) => run.base === settings.base) ??
    withAdapter[0];
  return (
    <>
      <p class="lead">The same question to the base and to what was trained from it.</p>
      <Problem error={error} />
      {reply && !first && (
        <Empty title="Nothing to compare yet">
          A run that is done, or has a checkpoint, can be compared with its base: <a href={at("train")}>start one</a>.
        </Empty>
      )}
      {first && (
        <Comparison key={first.folder} first={first} runs={withAdapter.filter((run) => run.base === first.base)} />
      )}
    </>
  );
}

function Comparison({ first, runs }: { readonly first: Run; readonly runs: readonly Run[] }) {
  const [speakers, setSpeakers] = useState<readonly Speaker[]>([
    { folder: "", scale: 1 },
    { folder: first.folder, scale: 1 },
  ]);
  const [asked, setAsked] = useState<{ question: string; turn: number }>();
  const [question, setQuestion] = useState("");
  const [system, setSystem] = useState("");
  const [tokens, setTokens] = useState("128");
  const [temperature, setTemperature] = useState("0");
  const [way, setWay] = useState<"chat" | "text">();
  const learned = useCall("columns", first.settings["data.train"] ? { path: first.settings["data.train"] } : undefined);
  const format = first.settings["data.format"] ?? learned.reply?.format ?? "messages";
  const isChat = (way ?? (AS_TEXT.has(format) ? "text" : "chat")) === "chat";
  const base = first.base!;
  const change = (i: number, speaker: Speaker) => setSpeakers(speakers.map((one, at) => (at === i ? speaker : one)));
  const ask = () => question.trim() && setAsked({ question: question.trim(), turn: (asked?.turn ?? 0) + 1 });
  const more = {
    chat: isChat,
    system: system.trim(),
    tokens: Number(tokens) || 128,
    temperature: Number(temperature) || 0,
  };
  return (
    <>
      <Card title="Question">
        <form
          onSubmit={(event) => {
            event.preventDefault();
            ask();
          }}
        >
          <Field label={`Asked of ${base}`}>
            {(id) => (
              <textarea
                id={id}
                rows={2}
                value={question}
                onInput={(event) => setQuestion(event.currentTarget.value)}
                onKeyDown={(event) => {
                  if (event.key !== "Enter" || event.shiftKey) return;
                  event.preventDefault();
                  ask();
                }}
              />
            )}
          </Field>
          <details>
            <summary>How it is asked, length, temperature</summary>
            <div class="row">
              <Field label="Asked as" hint="as the rows were learned, unless you say otherwise">
                {(id) => (
                  <Choice
                    id={id}
                    value={isChat ? "chat" : "text"}
                    options={[
                      ["chat", "a message of a chat"],
                      ["text", "a text that is gone on with"],
                    ]}
                    onValue={(value) => setWay(value as typeof way)}
                  />
                )}
              </Field>
              <Field label="System message">{(id) => <TextInput id={id} value={system} onValue={setSystem} />}</Field>
              <Field label="Longest answer, in tokens">
                {(id) => <TextInput id={id} value={tokens} onValue={setTokens} />}
              </Field>
              <Field label="Temperature" hint="0: always the likeliest token">
                {(id) => <TextInput id={id} value={temperature} onValue={setTemperature} />}
              </Field>
            </div>
          </details>
          <p class="actions">
            <button type="submit" class="main" disabled={question.trim() === ""}>
              Ask
            </button>
            {speakers.length < 4 && (
              <button
                type="button"
                class="quiet"
                onClick={() => setSpeakers([...speakers, { folder: first.folder, scale: 1 }])}
              >
                One more beside
              </button>
            )}
          </p>
        </form>
      </Card>
      <div class="speakers" style={{ "--count": speakers.length }}>
        {speakers.map((speaker, i) => (
          <Answering
            key={i}
            base={base}
            precision={first.settings.base_precision}
            speaker={speaker}
            runs={runs}
            asked={asked}
            more={more}
            onChange={(changed) => change(i, changed)}
            {...(speakers.length > 2 ? { onGone: () => setSpeakers(speakers.filter((_, at) => at !== i)) } : {})}
          />
        ))}
      </div>
      <SuiteCard base={base} chat={isChat} adapter={speakers.find(({ folder }) => folder !== "")?.folder} />
    </>
  );
}

/** Formats whose rows are learned as texts, without the chat template. */
const AS_TEXT: ReadonlySet<string> = new Set(["prompt_completion", "text", "preference", "unpaired_preference"]);

interface More {
  readonly chat: boolean;
  readonly system: string;
  readonly tokens: number;
  readonly temperature: number;
}

function Answering(props: {
  readonly base: string;
  readonly precision: string | undefined;
  readonly speaker: Speaker;
  readonly runs: readonly Run[];
  readonly asked: { readonly question: string; readonly turn: number } | undefined;
  readonly more: More;
  onChange(speaker: Speaker): void;
  onGone?(): void;
}) {
  const { speaker, runs, asked, onChange, onGone } = props;
  const answer = useAnswer(props);
  const options = useMemo(
    () => [
      ["", "the base"] as const,
      ...runs.flatMap((run) => [
        ...(run.adapter ? [[run.folder, run.name] as const] : []),
        ...run.checkpoints.map(({ step, folder }) => [folder, `${run.name}, step ${step}`] as const),
      ]),
      ...(runs.some((run) => run.folder === speaker.folder && !run.adapter)
        ? [[speaker.folder, "newest checkpoint"] as const]
        : []),
    ],
    [runs, speaker.folder],
  );
  return (
    <section class="card speaker" aria-label={options.find(([folder]) => folder === speaker.folder)?.[1] ?? "answer"}>
      <Field label="Who answers">
        {(id) => (
          <Choice
            id={id}
            value={speaker.folder}
            options={options}
            onValue={(folder) => onChange({ ...speaker, folder })}
          />
        )}
      </Field>
      {speaker.folder !== "" && (
        <Field label={`Scale of the adapter: ${speaker.scale}`} hint="0 is the base, 1 as it was trained">
          {(id) => (
            <input
              id={id}
              type="range"
              min={0}
              max={2}
              step={0.05}
              value={speaker.scale}
              onInput={(event) => onChange({ ...speaker, scale: Number(event.currentTarget.value) })}
            />
          )}
        </Field>
      )}
      <div class="answer" aria-live="polite" aria-busy={answer.busy}>
        {answer.text || (asked ? answer.busy ? "…" : "" : <span class="hint">Ask something.</span>)}
      </div>
      <Problem error={answer.error} />
      {answer.end && <small>{answer.end}</small>}
      {onGone && (
        <button type="button" class="quiet" onClick={onGone}>
          Take away
        </button>
      )}
    </section>
  );
}

/** What somebody answers, as it comes: to a new question at once, to another adapter or scale after a moment. */
function useAnswer({ base, precision, speaker, asked, more }: Parameters<typeof Answering>[0]) {
  const { backend } = useStudio();
  const [text, setText] = useState("");
  const [end, setEnd] = useState<string>();
  const latest = useRef(more);
  latest.current = more;
  const ask = useAction(async (question: string, signal: AbortSignal) => {
    setText("");
    setEnd(undefined);
    const { chat, system, tokens, temperature } = latest.current;
    const request = {
      ...{ base, question, chat, temperature, max_new_tokens: tokens },
      ...(precision ? { base_precision: precision as "f32" } : {}),
      ...(speaker.folder === "" ? {} : { adapter: speaker.folder, scale: speaker.scale }),
      ...(system === "" ? {} : { system }),
    };
    for await (const event of backend.stream("generate", request, signal)) {
      if (event.type === "text") setText((before) => before + event.text);
      if (event.type === "loading") setEnd(`reading the base: ${Math.round((100 * event.done) / event.total)} %`);
      if (event.type === "end")
        setEnd(
          `${event.tokens} tokens in ${seconds(event.seconds)}, ${whole(event.tokens / Math.max(0.001, event.seconds))} a second`,
        );
    }
  });
  const { run } = ask;
  useEffect(() => {
    if (!asked) return;
    const control = new AbortController();
    const timer = setTimeout(() => void run(asked.question, control.signal), 200);
    return () => {
      clearTimeout(timer);
      control.abort();
    };
  }, [asked, speaker.folder, speaker.scale, run]);
  return { text, end, busy: ask.busy, error: ask.error };
}
