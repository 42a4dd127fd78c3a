import { join } from "../formats/files.js";
import type { AdapterRegistry } from "../recipes/adapter-registry.js";
import type { TrainEvent } from "../recipes/events.js";
import { OUTPUT } from "../recipes/run-folder.js";
import { UserError } from "../tensor/index.js";

/** The name of the newest checkpoint, beside its own `step-N`. */
export const LATEST = "latest";

/**
 * Passes a run's events on, having served every checkpoint before its event: as `step-N`, the newest also as `latest`. Those that
 * the run deletes are unloaded. `outputDir`: checkpoints that are there already, of a run that is resumed, are served at once.
 */
export async function* servingCheckpoints(
  registry: AdapterRegistry,
  run: AsyncIterable<TrainEvent>,
  outputDir: string,
): AsyncGenerator<TrainEvent, void> {
  const { files } = registry.model.platform;
  const folder = join(outputDir, OUTPUT.checkpoints);
  const served = new Map<string, string>();
  const load = async (name: string): Promise<void> => {
    const path = join(folder, name, OUTPUT.adapter);
    await registry.load(name, path);
    await registry.load(LATEST, path);
    served.set(name, path);
  };
  const tidy = async (): Promise<void> => {
    for (const [name, path] of served) {
      if (await files.stat(path)) continue;
      served.delete(name);
      if (registry.names().includes(name)) registry.unload(name);
    }
  };
  /** What is wrong, if a checkpoint cannot be served: training goes on. */
  const attempt = async (name: string): Promise<TrainEvent[]> => {
    try {
      await load(name);
      return [];
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      return [{ type: "note", message: `${name} cannot be served: ${error.message}` }];
    }
  };
  for await (const event of run) {
    if (event.type === "start" && event.step > 0)
      for (const name of await earlier(registry, folder, event.step)) yield* await attempt(name);
    if (event.type === "checkpoint") {
      yield* await attempt(`step-${event.step}`);
      await tidy();
    }
    yield event;
  }
}

/** Checkpoints up to the one that a run goes on from, oldest first. */
async function earlier({ model }: AdapterRegistry, folder: string, last: number): Promise<string[]> {
  const { files } = model.platform;
  const names = (await files.stat(folder)) ? await files.list(folder) : [];
  const steps = names.flatMap((name) => /^step-(\d+)$/.exec(name)?.[1] ?? []).map(Number);
  return steps
    .filter((step) => step <= last)
    .sort((a, b) => a - b)
    .map((step) => `step-${step}`);
}
