import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { memoryFiles } from "../../src/formats/memory-files.js";
import { broadcastBase } from "../../src/recipes/broadcast-base.js";
import { UserError } from "../../src/tensor/index.js";
import type { Communicator } from "../../src/training/communicators/communicator.js";
import { openModel } from "../../src/weights/model-folder.js";
import { ranksInProcess } from "../numerics/in-process.js";
import { TINY } from "../tiny-run.js";

const tiny = Object.fromEntries(
  readdirSync(TINY)
    .filter((name) => statSync(join(TINY, name)).isFile())
    .map((name) => [`base/${name}`, new Uint8Array(readFileSync(join(TINY, name)))]),
);
const absent = (base: string): string => {
  throw new UserError(`base: '${base}' is not here`);
};

/** Each rank's files and machine; the ranks of machine a have the base. */
function given(machines: readonly string[], change: (communicator: Communicator) => Communicator = (same) => same) {
  const disks = new Map(
    machines.map((machine) => [machine, memoryFiles(machine === "a" ? { ...tiny, "base/x.bin": "x" } : {})]),
  );
  const ranks = ranksInProcess(machines.length).map((communicator, rank) => {
    const machine = machines[rank]!;
    const files = disks.get(machine)!;
    const resolveModel = machine === "a" ? (base: string) => base : absent;
    const receiving = { folder: `received-${rank}`, machine };
    return { files, received: broadcastBase(change(communicator), { files, resolveModel }, "base", receiving) };
  });
  return { disks, ranks };
}

it("machines without the base receive what opening it reads, once each", async () => {
  const { disks, ranks } = given(["a", "b", "b", "a", "c"]);
  const found = await Promise.all(ranks.map(({ received }) => received));
  expect(found.map(({ base }) => base)).toEqual(["base", "received-1", "received-1", "base", "received-4"]);
  expect(found.map(({ bytes }) => bytes > 0)).toEqual([false, true, false, false, true]);
  const [own, other] = await Promise.all(
    ["a", "b"].map((at) => openModel(disks.get(at)!, at === "a" ? "base" : "received-1")),
  );
  expect(await other!.hash()).toBe(await own!.hash());
  expect(other!.tokenizer).toEqual(own!.tokenizer);
  expect(await disks.get("b")!.list("received-1")).not.toContain("x.bin");
  await Promise.all(found.map((one) => one.dispose()));
  for (const at of ["b", "c"]) expect(await disks.get(at)!.list("")).toEqual([]);
});

it("where all have it nothing is sent", async () => {
  const found = await Promise.all(given(["a", "a"]).ranks.map(({ received }) => received));
  expect(found).toMatchObject([
    { base: "base", bytes: 0 },
    { base: "base", bytes: 0 },
  ]);
});

it("a file that arrives damaged is an error that names it", async () => {
  const damaging = (communicator: Communicator): Communicator => ({
    ...communicator,
    split: async (group) => damaging(await communicator.split(group)),
    async broadcast(data, from) {
      await communicator.broadcast(data, from);
      if (data.length > 1e5 && communicator.rank > 0) data[77]! ^= 1;
    },
  });
  const { ranks } = given(["a", "b"], damaging);
  await expect(ranks[1]!.received).rejects.toThrow(/^received-1\/.*: it arrived from rank 0 with another checksum/);
});
