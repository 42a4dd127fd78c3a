import type { BatchLayout } from "../batch-layout.js";
import type { Communicator } from "../communicators/communicator.js";
import { gatherValues } from "../communicators/values.js";
import { Pass } from "../pass.js";
import type { PassContext } from "../pass-context.js";
import { Inbox, Outbox, TAG } from "./messages.js";
import { isFirst, isLast } from "./stage.js";

/** The forward of a micro-batch through this rank's stage, without dropout; its result goes on to the next stage. */
export async function stageForward(ranks: Communicator, context: PassContext, batch: BatchLayout): Promise<Pass> {
  const { stage, config, device } = context;
  const pass = new Pass(context, batch, undefined);
  const given = new Inbox(ranks, stage.index - 1, TAG.stream, isFirst(stage) ? 0 : 1);
  pass.forward(isFirst(stage) ? undefined : await given.take(batch.padded * config.hiddenSize, Promise.resolve()));
  if (isLast(stage)) return pass;
  const box = new Outbox(ranks, stage.index + 1, TAG.stream);
  await box.put(device.download(pass.stream(stage.end)));
  await box.sent();
  return pass;
}

/** What the last stage finds by as many forwards as there are micro-batches with a target, told to all stages. */
export async function foundByLast<T>(
  ranks: Communicator,
  context: PassContext,
  layouts: readonly BatchLayout[],
  find: () => Promise<T>,
): Promise<T> {
  if (isLast(context.stage)) return toldByLast(ranks, await find());
  for (const layout of layouts) if (layout.rows.length > 0) await stageForward(ranks, context, layout);
  return toldByLast(ranks, null as T);
}

/** What the last of a pipeline's ranks has, which all of them are told. */
export async function toldByLast<T>(ranks: Communicator, own: T): Promise<T> {
  return (await gatherValues(ranks, ranks.rank === ranks.size - 1 ? own : null)).at(-1) as T;
}
