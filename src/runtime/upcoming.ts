import type { Command } from "./commands.js";
import type { View } from "./device.js";

/**
 * Runs whose inputs are read ahead of them: those of half a block each, so that about one block's weights wait in memory while another
 * is computed.
 */
const RUNS_AHEAD = 2;

/** The commands that an executor was given and has not come to. */
export class Upcoming {
  private readonly lists: (readonly Command[])[] = [];
  private at = 0;

  add(commands: readonly Command[]): void {
    if (commands.length > 0) this.lists.push(commands);
  }

  /** The next one's turn has come. */
  next(): void {
    this.at++;
    if (this.at < this.lists[0]!.length) return;
    this.lists.shift();
    this.at = 0;
  }

  /** Those inputs of the next runs that `wanted` takes, of so many runs as have any. */
  *inputs(wanted: (view: View) => boolean): Generator<View> {
    let runs = 0;
    for (const [i, list] of this.lists.entries()) {
      for (const command of i > 0 ? list : list.slice(this.at)) {
        if (command.kind !== "run") continue;
        const views = Object.values(command.inputs).filter(wanted);
        if (views.length === 0) continue;
        yield* views;
        if (++runs === RUNS_AHEAD) return;
      }
    }
  }
}
