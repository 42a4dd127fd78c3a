// Streaming clients of a server, what they ask, and whether the answers are right.
import { z } from "zod";

const PERSON = z.strictObject({
  name: z.string().max(12),
  age: z.int().min(0).max(120),
  home: z.enum(["town", "country"]),
});
const CALLS = { weather: z.strictObject({ town: z.string().max(12) }), parcel: z.strictObject({ number: z.int() }) };
const schemaOf = (type) => z.toJSONSchema(type);
const QUESTIONS = ["Ada is 36 and lives in a town. Where is parcel 12?", "Who is Bo, and do I need a coat in Oslo?"];
const tools = Object.entries(CALLS).map(([name, type]) => {
  return { type: "function", function: { name, description: `Looks up a ${name}`, parameters: schemaOf(type) } };
});
const person = { type: "json_schema", json_schema: { name: "person", schema: schemaOf(PERSON) } };

/** What a client of some number asks beside its question: half nothing, a quarter a schema, a quarter tools. */
const KINDS = {
  plain: {},
  schema: { response_format: person },
  tools: { tools },
  called: { tools, tool_choice: "required" },
};
const kindOf = (client) => ["plain", "schema", "plain", client & 4 ? "tools" : "called"][client % 4];
/** One in so many leaves in the middle of its answer. */
const LEAVES = 10;

/** Asks everything once alone. `run` has clients ask it together. */
export async function startLoad(url, { adapters, maxTokens }) {
  const alone = new Map();
  const asking = (i, kind) => {
    const model = `a${i % adapters}`;
    const messages = [{ role: "user", content: QUESTIONS[i % QUESTIONS.length] }];
    const body = { model, messages, temperature: 0, max_tokens: maxTokens, stream: true, ...KINDS[kind] };
    return { ...body, stream_options: { include_usage: true } };
  };
  const key = (i, kind) => `a${i % adapters} ${kind}`;
  for (const kind of Object.keys(KINDS)) {
    for (let i = 0; i < adapters; i++) {
      const { said } = await ask(url, asking(i, kind));
      alone.set(key(i, kind), said);
      const fault = faultOf(kind, said);
      if (fault) throw new Error(`asked alone, ${kind}: ${fault}`);
    }
  }
  return {
    /** Clients ask for as long as `goOn` says. */
    async run(clients, goOn) {
      const seen = { answers: [], gaps: [], left: 0, reset: 0, wrong: [] };
      const began = performance.now();
      const client = async (me) => {
        for (let turn = 0; goOn(); turn++) {
          const [i, kind] = [me * 7 + turn * 3, kindOf(me)];
          const leaveAfter = (me + turn) % LEAVES === LEAVES - 1 ? turn % 5 : undefined;
          const answer = await ask(url, asking(i, kind), leaveAfter).catch((error) => passed(error, seen));
          if (!answer) continue;
          seen.answers.push(answer);
          for (const gap of answer.gaps) seen.gaps.push(gap);
          const fault = faultOf(kind, answer.said);
          if (fault) seen.wrong.push(`${kind}: ${fault}`);
          else if (answer.said !== alone.get(key(i, kind)))
            seen.wrong.push(`${key(i, kind)}: ${answer.said} instead of ${alone.get(key(i, kind))}`);
        }
      };
      await Promise.all(Array.from({ length: clients }, (_, me) => client(me)));
      return figures(seen, (performance.now() - began) / 1000);
    },
  };
}

function figures({ answers, gaps, left, reset, wrong }, seconds) {
  const all = (of) => answers.map(of);
  const tokens = all((answer) => answer.tokens).reduce((a, b) => a + b, 0);
  return {
    answers: answers.length,
    left,
    reset,
    wrong: wrong.length,
    wrong_ones: wrong.slice(0, 3),
    tokens_per_second: tokens / seconds,
    latency_ms: shares(all((answer) => answer.milliseconds)),
    first_token_ms: shares(all((answer) => answer.first)),
    between_tokens_ms: shares(gaps),
  };
}

function shares(list) {
  const sorted = list.toSorted((a, b) => a - b);
  const at = (share) => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0);
  return { p50: at(0.5), p95: at(0.95), most: at(1) };
}

/** What is wrong with an answer, whatever was asked; undefined: nothing. */
function faultOf(kind, said) {
  const { content, calls } = JSON.parse(said);
  if (kind === "schema") return faultOfJson(PERSON, content);
  if (kind === "called" && calls.length === 0) return `no call but ${said}`;
  for (const { name, text } of calls) {
    const type = kind === "called" ? CALLS[name] : CALLS[name] && z.looseObject({});
    if (!type) return `a call of '${name}'`;
    const fault = faultOfJson(type, text);
    if (fault) return fault;
  }
}

function faultOfJson(type, text) {
  try {
    const { success } = type.safeParse(JSON.parse(text));
    return success ? undefined : `${text} does not fit`;
  } catch {
    return `${text} is not JSON`;
  }
}

/** Counts a client that left, and a connection that was reset; all else is an error. */
function passed(error, seen) {
  if (error.name === "AbortError") seen.left++;
  else if (error.cause?.code === "ECONNRESET") seen.reset++;
  else throw error;
}

/** One streamed answer; `leaveAfter`: how many pieces are read before the client leaves. */
async function ask(url, body, leaveAfter) {
  const control = new AbortController();
  const began = performance.now();
  const headers = { "content-type": "application/json" };
  const sent = { method: "POST", headers, body: JSON.stringify(body), signal: control.signal };
  const response = await fetch(`${url}/v1/chat/completions`, sent);
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
  let [content, reason, tokens, pieces] = ["", null, 0, 0];
  let first;
  const [calls, gaps] = [[], []];
  let last = began;
  for await (const event of events(response.body)) {
    if (event.error) throw new Error(event.error.message);
    const now = performance.now();
    if (first === undefined) first = now - began;
    else gaps.push(now - last);
    last = now;
    if (pieces++ === leaveAfter) {
      control.abort();
      control.signal.throwIfAborted();
    }
    tokens = event.usage?.completion_tokens ?? tokens;
    const [{ delta = {}, finish_reason } = {}] = event.choices;
    content += delta.content ?? "";
    for (const {
      index,
      function: { name, arguments: text },
    } of delta.tool_calls ?? []) {
      calls[index] ??= { name, text: "" };
      calls[index].text += text;
    }
    reason = finish_reason ?? reason;
  }
  const said = JSON.stringify({ content, calls, reason });
  return { said, tokens, first, gaps, milliseconds: performance.now() - began };
}

/** The events of a stream, as values. */
async function* events(body) {
  const utf8 = new TextDecoder();
  let held = "";
  for await (const chunk of body) {
    held += utf8.decode(chunk, { stream: true });
    const whole = held.split("\n\n");
    held = whole.pop();
    for (const event of whole) if (event !== "data: [DONE]") yield JSON.parse(event.slice("data: ".length));
  }
}
