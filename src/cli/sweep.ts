import { homedir } from "node:os";
import { nodePlatform } from "../node/platform.js";
import { interruptible } from "../node/signals.js";
import type { TrainEvent } from "../recipes/events.js";
import { snakeKeys } from "../recipes/names.js";
import { pointName, readGrid } from "../recipes/sweep/grid.js";
import { figureText, shortName, sweepTable } from "../recipes/sweep/show.js";
import type { SweepPoint } from "../recipes/sweep/state.js";
import { type SweepEvent, type SweepResult, sweep } from "../recipes/sweep/sweep.js";
import { allOverrides, loadConfig } from "./configs.js";
import { type Action, EXIT, type Io, type Options } from "./io.js";
import { inert } from "./preview-text.js";
import { loadingLine } from "./progress.js";
import { terminal } from "./train.js";
import { usageError } from "./usage.js";

export const sweepVerb: Action = async (overrides, options, io) => {
  const texts = (options.grid as readonly string[] | undefined) ?? [];
  if (texts.length === 0) throw usageError("say what to sweep: --grid KEY=VALUE,VALUE,..., any number of times");
  const config = await loadConfig(
    options.config as string | undefined,
    allOverrides(withoutOutput(options), overrides),
  );
  const request = {
    config,
    grid: readGrid(texts, homedir()),
    output: options.output as string,
    ...(options.suite === undefined ? {} : { suite: options.suite as string }),
    ...(options.metric === undefined ? {} : { metric: options.metric as string }),
  };
  const platform = nodePlatform();
  const { signal, stop } = interruptible(() =>
    io.err("\nlowrank: finishing the step and writing a checkpoint; Ctrl-C again stops at once\n"),
  );
  try {
    const run = sweep(request, platform, { resume: options.resume === true, signal, onProgress: loadingLine(io) });
    const show = shown(io);
    for await (const event of run) show(event);
    const result = await run.result();
    io.out(options.json ? `${JSON.stringify(plain(result))}\n` : sweepTable(result).split("\n").map(inert).join("\n"));
    if (!result.interrupted) return EXIT.ok;
    io.err("to resume: the same command with --resume\n");
    return EXIT.interrupted;
  } catch (error) {
    if (signal.aborted && (error as Error).name === "AbortError") return EXIT.interrupted;
    throw error;
  } finally {
    stop();
    await platform.dispose();
  }
};

/** `--output` is the sweep's folder here, and no run's. */
const withoutOutput = ({ output: _, ...options }: Options): Options => options;

/** The result with the keys of a file; those of the grid and the figures stay as they are. */
function plain({ points, best, ...result }: SweepResult): Record<string, unknown> {
  const point = ({ values, figures, ...more }: SweepPoint) => ({ ...(snakeKeys(more) as object), values, figures });
  return { ...(snakeKeys(result) as object), points: points.map(point), best: best ? point(best) : null };
}

function shown(io: Io): (event: SweepEvent) => void {
  let training: (event: TrainEvent) => void = () => undefined;
  return (event) => {
    switch (event.type) {
      case "note":
        return io.err(`${event.message}\n`);
      case "point": {
        training = terminal(io);
        const finished = event.finished ? ", finished before" : "";
        return io.err(`point ${event.number} (of ${event.of}): ${pointName(event.values)}${finished}\n`);
      }
      case "training":
        return training(event.event);
      case "result": {
        const figures = Object.entries(event.point.figures).map(([name, x]) => `${shortName(name)} ${figureText(x)}`);
        return io.err(`point ${event.point.number}: ${figures.join(", ")}\n`);
      }
    }
  };
}
