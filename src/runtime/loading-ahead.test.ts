import { describe, expect, it } from "vitest";
import { define, neg } from "../graph/index.js";
import { UserError } from "../tensor/index.js";
import { CommandExecutor, type Engine, hostMemory, QueueDevice, tensor } from "./index.js";

const processMemory = () => ({ resident: 0, peak: 0 });
const program = (name: string) => define(name, (declare) => ({ y: neg(declare("x", [1])) }));

/** An engine that notes what it does, and whose models are loaded when the test says so. */
function slowEngine(loadsAhead: boolean) {
  const [notes, waiting] = [[] as string[], [] as ((error?: Error) => void)[]];
  const engine: Engine = {
    loadsAhead,
    load: () => {
      const number = waiting.length;
      notes.push(`load ${number}`);
      const session = {
        run: () => void notes.push(`run ${number}`),
        release: () => void notes.push(`release ${number}`),
      };
      return new Promise((resolve, reject) => {
        waiting.push((error) => (error ? reject(error) : resolve(session)));
      });
    },
  };
  const device = new QueueDevice(new CommandExecutor(engine, hostMemory(), { device: "cpu", processMemory }), "cpu");
  const [x, y] = [tensor(device, "f32", [1]), tensor(device, "f32", [1])];
  const compileAndRun = (name: string) => device.run(device.compile(program(name)), { x }, { y });
  return { device, notes, compileAndRun, loaded: (i: number, error?: Error) => waiting[i]!(error) };
}

const turn = () => new Promise((resolve) => setTimeout(resolve));

describe("an engine that loads ahead", () => {
  it("loads all that is queued at once; what runs stays in its order", async () => {
    const { device, notes, compileAndRun, loaded } = slowEngine(true);
    for (const name of ["a", "b", "c"]) compileAndRun(name);
    await turn();
    expect(notes).toEqual(["load 0", "load 1", "load 2"]);
    for (const i of [2, 1, 0]) loaded(i);
    await device.flush();
    expect(notes.slice(3)).toEqual(["run 0", "run 1", "run 2"]);
  });

  it("tells of a program that cannot be loaded when its turn comes", async () => {
    const { device, notes, compileAndRun, loaded } = slowEngine(true);
    for (const name of ["a", "b"]) compileAndRun(name);
    await turn();
    loaded(1, new Error("no such operator"));
    await turn();
    loaded(0);
    const error = await device.flush().catch((e) => e);
    expect(error).toBeInstanceOf(UserError);
    expect(error.message).toBe("device 'cpu' cannot run the program 'b': no such operator");
    expect(notes.slice(2)).toEqual(["run 0"]);
  });

  it("releases what was loaded and never had its turn", async () => {
    const { device, notes, compileAndRun, loaded } = slowEngine(true);
    for (const name of ["a", "b"]) compileAndRun(name);
    await turn();
    loaded(0, new Error("no such operator"));
    loaded(1);
    await expect(device.flush()).rejects.toThrow("'a'");
    await device.dispose();
    expect(notes.slice(2)).toEqual(["release 1"]);
  });

  it("others load one program after the other", async () => {
    const { device, notes, compileAndRun, loaded } = slowEngine(false);
    for (const name of ["a", "b"]) compileAndRun(name);
    await turn();
    expect(notes).toEqual(["load 0"]);
    loaded(0);
    await turn();
    loaded(1);
    await device.flush();
    expect(notes).toEqual(["load 0", "run 0", "load 1", "run 1"]);
  });
});

it("an engine that does not open fails what is waited for first, in its own words", async () => {
  const engine = { load: () => Promise.reject(new Error("no model can be loaded")) };
  const executor = new CommandExecutor(engine, hostMemory(), { device: "cpu", processMemory });
  const device = new QueueDevice(executor, "cpu", {}, Promise.reject(new UserError("device: 'cpu' cannot be used")));
  device.compile(program("a"));
  await expect(device.memory()).rejects.toThrow("device: 'cpu' cannot be used");
});
