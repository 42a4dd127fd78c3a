import { expect, it } from "vitest";
import { define, neg } from "../graph/index.js";
import { CommandExecutor, type Engine, encodedView, hostMemory, QueueDevice, tensor } from "./index.js";

/** A device whose files are read when the test says so, and whose engine notes its runs. */
function slowFiles() {
  const notes: string[] = [];
  const waiting = new Map<string, () => void>();
  const engine: Engine = {
    load: () => ({ run: (feeds) => void notes.push(`run of ${feeds.x!.data[0]}`), release() {} }),
  };
  const executor = new CommandExecutor(engine, hostMemory(), {
    device: "cpu",
    processMemory: () => ({ resident: 0, peak: 0 }),
    readFile: (path, _offset, into) => {
      notes.push(`read ${path}`);
      new Float32Array(into.buffer)[0] = Number(path);
      return new Promise((done) => waiting.set(path, done));
    },
  });
  const device = new QueueDevice(executor, "cpu");
  const program = device.compile(define("neg", (declare) => ({ y: neg(declare("x", [1])) })));
  const y = tensor(device, "f32", [1]);
  const file = (path: string) => encodedView(device.allocate({ path, offset: 0, bytes: 4 }), "f32", [1]);
  return {
    device,
    notes,
    file,
    run: (path: ReturnType<typeof file>) => device.run(program, { x: path }, { y }),
    waiting,
  };
}

const turn = () => new Promise((resolve) => setTimeout(resolve));

it("what the next two runs decode is read while one waits or runs, and no more", async () => {
  const { device, notes, file, run, waiting } = slowFiles();
  const files = ["1", "2", "3", "4"].map(file);
  await device.flush();
  for (const one of files) run(one);
  await turn();
  expect(notes).toEqual(["read 1", "read 2", "read 3"]);
  for (const path of ["2", "3", "1"]) waiting.get(path)!();
  await turn();
  expect(notes.slice(3)).toEqual(["run of 1", "read 4", "run of 2", "run of 3"]);
  waiting.get("4")!();
  await device.flush();
  expect(notes.at(-1)).toBe("run of 4");
});

it("what is decoded already is not read again", async () => {
  const { device, notes, file, run, waiting } = slowFiles();
  const one = file("1");
  for (let i = 0; i < 3; i++) run(one);
  await turn();
  waiting.get("1")!();
  await device.flush();
  expect(notes).toEqual(["read 1", "run of 1", "run of 1", "run of 1"]);
});
