import { main } from "../src/cli/main.js";

/** What a verb printed, and its exit code. */
export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs the command line in this process, as in a pipe of 80 columns. */
export async function runCli(...argv: string[]): Promise<Ran> {
  let [out, err] = ["", ""];
  const io = {
    out: (text: string) => void (out += text),
    err: (text: string) => void (err += text),
    interactive: false,
    columns: 80,
  };
  return { code: await main(argv, io), out, err };
}
