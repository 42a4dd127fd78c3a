/** What came of a character: the object goes on, it ended with it, or it is none that names a function. */
export type Step = "more" | "end" | "broken";

/** Reads one call, a JSON object with a name and arguments in any order, as it is written. */
export interface ObjectReader {
  push(char: string): Step;
  /** The function's name, once it is known. */
  readonly name: string | undefined;
  /** The arguments' text that was read since it was last asked for. */
  take(): string;
}

const SPACE = /\s/;
const ARGUMENTS: readonly string[] = ["arguments", "parameters"];

/** Opens a reader before the `{` of a call. Arguments that are JSON in a string are given as that JSON; none are `{}`. */
export function createObjectReader(): ObjectReader {
  let place: "open" | "key" | "colon" | "value" | "after" = "open";
  let name: string | undefined;
  let key = "";
  let ready = "";
  let given = false;
  let scan = createValueScan();

  const endValue = (): boolean => {
    const value = parsed(scan.text);
    if (value === undefined) return false;
    if (key === "name") {
      if (typeof value !== "string") return false;
      name = value;
    } else if (ARGUMENTS.includes(key)) {
      if (typeof value === "string") ready = value;
      else if (!scan.isObject && value !== null) return false;
      given = value !== null;
    }
    place = "after";
    return true;
  };
  const close = (): Step => {
    if (name === undefined) return "broken";
    if (!given) ready = "{}";
    return "end";
  };
  const inValue = (char: string): Step => {
    const ended = scan.push(char);
    if (ARGUMENTS.includes(key) && scan.isObject && ended !== "before") ready += char;
    if (ended === "no") return "more";
    if (!endValue()) return "broken";
    return ended === "before" ? push(char) : "more";
  };
  const begin = (next: "key" | "value"): void => {
    scan = createValueScan();
    place = next;
  };
  function push(char: string): Step {
    if (place === "value") {
      return scan.text === "" && SPACE.test(char) ? "more" : inValue(char);
    }
    if (place === "key" && scan.text !== "") {
      if (scan.push(char) === "no") return "more";
      key = String(parsed(scan.text));
      place = "colon";
      return "more";
    }
    if (SPACE.test(char)) return "more";
    if (place === "open" && char === "{") begin("key");
    else if (place === "key" && char === '"') scan.push(char);
    else if (place === "colon" && char === ":") begin("value");
    else if (place === "after" && char === ",") begin("key");
    else return char === "}" && (place === "after" || place === "key") ? close() : "broken";
    return "more";
  }
  return {
    push,
    get name() {
      return name;
    },
    take() {
      const text = ready;
      ready = "";
      return text;
    },
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Finds the end of a JSON value: with its last character, or before the first one that is not its own. */
function createValueScan() {
  let text = "";
  let depth = 0;
  let [inString, escaped] = [false, false];
  return {
    get text() {
      return text;
    },
    get isObject() {
      return text[0] === "{";
    },
    push(char: string): "no" | "with" | "before" {
      const scalar = text !== "" && !'{["'.includes(text[0]!);
      if (scalar && (SPACE.test(char) || ",}".includes(char))) return "before";
      text += char;
      if (escaped) escaped = false;
      else if (inString) {
        if (char === "\\") escaped = true;
        else if (char === '"') inString = false;
      } else if (char === '"') inString = true;
      else if ("{[".includes(char)) depth++;
      else if ("}]".includes(char)) depth--;
      const open = inString || depth > 0 || !'{["'.includes(text[0]!);
      return open ? "no" : "with";
    },
  };
}
