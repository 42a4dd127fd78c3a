import type { Communicator } from "../../src/training/communicators/communicator.js";

/** Ranks of one process, for tests: what each calls waits for the calls of the others. */
export function ranksInProcess(size: number): Communicator[] {
  const meet = meeting(size);
  const splits = new Map<string, Communicator[]>();
  const post = mailbox();
  const counts = Array.from({ length: size }, () => 0);
  return Array.from(
    { length: size },
    (_, rank): Communicator => ({
      rank,
      size,
      async sum(vector) {
        const all = await meet(rank, vector.slice());
        for (let i = 0; i < vector.length; i++) vector[i] = all.reduce((sum, other) => sum + other[i]!, 0);
      },
      async broadcast(data, from) {
        data.set((await meet(rank, data.slice()))[from] as Uint8Array);
      },
      gather: async (data) => (await meet(rank, data.slice())).map((own) => (own as Uint8Array).slice()),
      barrier: async () => void (await meet(rank, new Float32Array(0))),
      send: async (to, tag, data) => post.put(`${rank} ${to} ${tag}`, data.slice()),
      receive: (from, tag) => post.take(`${from} ${rank} ${tag}`),
      async split(group) {
        const groups = (await meet(rank, Float64Array.of(group))).map((own) => own[0]!);
        const members = groups.flatMap((own, other) => (own === group ? [other] : []));
        const key = `${counts[rank]!++} ${group}`;
        if (!splits.has(key)) splits.set(key, ranksInProcess(members.length));
        return splits.get(key)![members.indexOf(rank)]!;
      },
    }),
  );
}

type Values = Float32Array | Float64Array | Uint8Array;

/** Each rank brings values; when all have, each has those of all, in the order of the ranks. */
function meeting(size: number) {
  let [brought, count] = [Array<Values>(size), 0];
  let waiting: ((all: Values[]) => void)[] = [];
  return (rank: number, values: Values): Promise<Values[]> =>
    new Promise((done) => {
      brought[rank] = values;
      waiting.push(done);
      if (++count < size) return;
      const [all, ready] = [brought, waiting];
      [brought, count, waiting] = [Array<Values>(size), 0, []];
      for (const end of ready) end(all);
    });
}

/** Messages by their way, and who waits for one. */
function mailbox() {
  const sent = new Map<string, Uint8Array[]>();
  const waiting = new Map<string, ((data: Uint8Array) => void)[]>();
  return {
    put(way: string, data: Uint8Array) {
      const next = waiting.get(way)?.shift();
      if (next) next(data);
      else sent.set(way, [...(sent.get(way) ?? []), data]);
    },
    take(way: string): Promise<Uint8Array> {
      const first = sent.get(way)?.shift();
      if (first) return Promise.resolve(first);
      return new Promise((done) => waiting.set(way, [...(waiting.get(way) ?? []), done]));
    },
  };
}
