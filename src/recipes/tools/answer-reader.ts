import type { ToolFormat } from "../../tokenizers/tools/index.js";
import { createObjectReader, type ObjectReader } from "./object-reader.js";

/** What came of call number `call` of an answer: first its name, then its arguments piece by piece. */
export interface CallPiece {
  readonly call: number;
  /** With the first piece of a call. */
  readonly name?: string;
  /** JSON text that goes on where the last piece ended. */
  readonly arguments: string;
}

/** What an answer said and called since it was last asked. */
export interface Said {
  readonly text: string;
  readonly calls: readonly CallPiece[];
}

/** Tells an answer's words from its calls, as both come. */
export interface AnswerReader {
  push(piece: string): Said;
  /** What was held back, when no more comes. */
  end(): Said;
  /** How many calls have begun. */
  readonly calls: number;
}

/**
 * Reads an answer in which calls of the named functions are written in a format. A call begins once its name is known; what looks like
 * one and is none (another name, no JSON) is text, as it was written. White space around calls belongs to them.
 */
export function createAnswerReader(format: ToolFormat, names: ReadonlySet<string>): AnswerReader {
  const marks = [...format.opens, ...format.closes];
  let state: "text" | "between" | "object" = "text";
  let held = ""; // not looked at yet
  let raw = ""; // looked at, and text again if no call comes of it
  let untouched = true; // nothing was said or called
  let object: ObjectReader | undefined;
  let begun = false;
  let calls = 0;
  let said = "";
  let pieces: CallPiece[] = [];

  const say = (text: string): void => {
    said += text;
    if (text !== "") untouched = false;
  };
  const giveUp = (): void => {
    say(raw);
    [raw, state] = ["", "text"];
  };

  /** Each returns whether there is more to do with what is held. */
  const steps = {
    text(): boolean {
      if (format.bare && untouched && held.trimStart().startsWith("{")) return startObject(held.search(/\S/));
      const found = format.opens.map((mark) => held.indexOf(mark)).filter((at) => at >= 0);
      if (found.length === 0) {
        const kept = Math.max(...format.opens.map((mark) => overlap(held, mark)));
        const until = held.slice(0, held.length - kept).trimEnd().length;
        say(held.slice(0, until));
        held = held.slice(until);
        return false;
      }
      const at = Math.min(...found);
      const before = held.slice(0, at).trimEnd();
      say(before);
      raw = held.slice(before.length, at);
      held = held.slice(at);
      state = "between";
      return true;
    },
    between(): boolean {
      const mark = marks.find((one) => held.startsWith(one));
      if (mark === undefined && marks.some((one) => one.startsWith(held))) return false;
      const passed = mark ?? /^[\s,;[\]]?/.exec(held)![0];
      if (passed === "") {
        if (held[0] === "{") return startObject(0);
        giveUp();
        return true;
      }
      // After a call they belong to it; before one they are text again if none comes.
      if (raw !== "" || format.opens.includes(passed)) raw += passed;
      held = held.slice(passed.length);
      return true;
    },
    object(): boolean {
      for (let at = 0; at < held.length; at++) {
        const step = object!.push(held[at]!);
        if (!begun) raw += held[at];
        if (step === "more") continue;
        held = held.slice(at + 1);
        if (step === "end") endObject();
        else giveUp();
        return true;
      }
      held = "";
      pass();
      return false;
    },
  };
  function startObject(at: number): boolean {
    raw += held.slice(0, at);
    held = held.slice(at);
    [object, begun, state] = [createObjectReader(), false, "object"];
    return true;
  }
  function endObject(): void {
    pass(true);
    if (begun) state = "between";
    else giveUp();
  }
  /** Hands on what of a call is known: nothing before its name, which has to be one of the tools'. */
  function pass(whole = false): void {
    const { name } = object!;
    if (name === undefined || !names.has(name)) return;
    const text = object!.take();
    if (!begun && text === "" && !whole) return;
    if (!begun) pieces.push({ call: calls, name, arguments: text });
    else if (text !== "") pieces.push({ call: calls - 1, arguments: text });
    if (!begun) calls++;
    [begun, raw, untouched] = [true, "", false];
  }
  const taken = (): Said => {
    const now = { text: said, calls: pieces };
    [said, pieces] = ["", []];
    return now;
  };
  return {
    push(piece) {
      held += piece;
      while (held !== "" && steps[state]());
      return taken();
    },
    end() {
      if (state === "object" && begun) return taken();
      const rest = raw + held;
      if (calls === 0 || rest.trim().length > 0) say(state === "between" && calls > 0 ? "" : rest);
      return taken();
    },
    get calls() {
      return calls;
    },
  };
}

/** The length of the longest end of `text` that is a beginning of `mark`. */
function overlap(text: string, mark: string): number {
  let length = Math.min(text.length, mark.length - 1);
  while (length > 0 && !text.endsWith(mark.slice(0, length))) length--;
  return length;
}
