// A rank that tries everything a communicator does, and prints what came out. Started by mpi.full.test.ts.
import { openMpi } from "../../dist/node/index.js";
import { loadKoffi } from "../../dist/node/koffi.js";

/** The machine code of glibc's functions of memory, which MPI's libraries like to patch under V8's running threads. */
function memoryCode() {
  if (!process.report.getReport().header.glibcVersionRuntime) return [];
  const koffi = loadKoffi();
  const libc = koffi.load("libc.so.6");
  return ["mmap", "munmap", "brk", "sbrk", "madvise"].map((name) =>
    koffi.decode(libc.symbol(name, "void *"), "uint8_t", 16).join(" "),
  );
}

const unpatched = memoryCode();
const world = await openMpi();
const { rank, size } = world;
const found = { rank, size, kind: world.version, unpatched: String(memoryCode()) === String(unpatched) };
for (const [name, length] of Object.entries({ small: 5, large: 100_003 })) {
  const vector = Float32Array.from({ length }, (_, i) => Math.fround(Math.sin(i) * 10 ** (rank - 1)));
  await world.sum(vector);
  const expected = Float32Array.from({ length }, (_, i) => {
    let sum = 0;
    for (let other = 0; other < size; other++) sum += Math.fround(Math.sin(i) * 10 ** (other - 1));
    return sum;
  });
  found[name] = vector.every((x, i) => x === expected[i]);
}
const double = Float64Array.of(2 ** 40 + rank);
await world.sum(double);
found.double = double[0];
found.gathered = (await world.gather(new Uint8Array(rank).fill(rank))).map((data) => [...data]);
const lengths = [0, 248, 249, 100_000]; // the longest of a first exchange, one more, and many more
const texts = await world.gather(new Uint8Array(lengths[rank % 4]).map((_, i) => i + rank));
found.texts = texts.every(
  (text, from) => text.length === lengths[from % 4] && text.every((x, i) => x === ((i + from) & 255)),
);
const data = rank === 1 ? Uint8Array.of(7, 8, 9) : new Uint8Array(3);
await world.broadcast(data, 1);
found.broadcast = [...data];
// round a ring: a short and a long message with other tags, received in the other order
const [next, before] = [(rank + 1) % size, (rank + size - 1) % size];
let turns = 0;
const beat = setInterval(() => turns++, 1);
if (rank === 0) await new Promise((done) => setTimeout(done, 300));
const sent = [world.send(next, 1, Uint8Array.of(rank)), world.send(next, 2, new Uint8Array(3_000_000).fill(rank))];
const long = await world.receive(before, 2);
const short = await world.receive(before, 1);
await Promise.all(sent);
clearInterval(beat);
found.ring = [...short, long.length, long.every((x) => x === before)];
found.lives = rank === 1 ? turns > 5 : true;
const half = await world.split(rank % 2);
const own = Float32Array.of(rank);
await half.sum(own);
found.half = [half.rank, half.size, own[0]];
process.stdout.write(`${JSON.stringify(found)}\n`);
await world.close();
