import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, it } from "vitest";
import { deviceHere } from "../../test/conformance/run.js";
import { add, define, scalar } from "../graph/index.js";
import type { TypedArray } from "../tensor/index.js";
import { type Device, tensor, type View, YieldingDevice } from "./index.js";

const increment = define("increment", (declare) => ({ y: add(declare("x", [1]), scalar(1)) }));
let device: Device;
let patient: Device;
beforeEach(async () => {
  device = await deviceHere("cpu", 1);
  patient = new YieldingDevice(device);
});
afterEach(() => device.dispose());

/** Counts up on a device, `steps` runs and copies. */
function counter(on: Device): { up(steps: number): void; at: View } {
  const program = on.compile(increment);
  const [a, b] = [tensor(on, "f32", [1]), tensor(on, "f32", [1])];
  return {
    at: a,
    up(steps) {
      for (let i = 0; i < steps; i++) {
        on.run(program, { x: a }, { y: b });
        on.copy(b, a);
      }
    },
  };
}

it("keeps its own order; an answer has what was queued before it and nothing after", async () => {
  const count = counter(patient);
  const seen: Promise<TypedArray>[] = [];
  for (let i = 0; i < 20; i++) {
    count.up(3);
    seen.push(patient.download(count.at));
  }
  expect((await Promise.all(seen)).map((data) => data[0])).toEqual(Array.from({ length: 20 }, (_, i) => 3 * (i + 1)));
});

it("what others queue later is done long before it", async () => {
  const [slow, quick] = [counter(patient), counter(device)];
  const ended: string[] = [];
  slow.up(2000);
  const long = patient.download(slow.at).then((data) => ended.push(`slow ${data[0]}`));
  for (let i = 1; i <= 5; i++) {
    quick.up(1);
    ended.push(`quick ${(await device.download(quick.at))[0]}`);
  }
  await long;
  expect(ended).toEqual(["quick 1", "quick 2", "quick 3", "quick 4", "quick 5", "slow 2000"]);
});

it("parts stay long on a thread that hears late how they ended: their length goes by the device's own time", async () => {
  let parts = 0;
  const late: Device = Object.assign(Object.create(device), {
    async apart(record: () => void) {
      parts++;
      const took = await device.apart(record);
      await sleep(100);
      return took;
    },
  });
  const busy = new YieldingDevice(late);
  counter(busy).up(100); // 200 commands
  await busy.flush();
  expect(parts).toBeLessThan(40);
});

it("an error in the queue reaches whoever waits, and dispose leaves the device to its owner", async () => {
  const count = counter(patient);
  await patient.dispose();
  count.up(1);
  await patient.flush();
  expect((await device.download(count.at))[0]).toBe(1);
  patient.run({ id: 999, name: "none", inputs: [], outputs: [] }, {}, {});
  count.up(50);
  await expect(patient.flush()).rejects.toThrow();
  await expect(patient.download(count.at)).rejects.toThrow();
});

it("an error of its own is nobody else's: the device goes on, and what was allocated can be freed", async () => {
  const [mine, others] = [counter(patient), counter(device)];
  const { buffers } = await device.memory();
  const extra = [tensor(patient, "f32", [1000]), tensor(patient, "f32", [1000])] as const;
  patient.upload(extra[0], new Float32Array(1000));
  patient.run({ id: 999, name: "none", inputs: [], outputs: [] }, {}, {});
  patient.free(extra[0].buffer); // behind the error
  others.up(3);
  await expect(patient.download(mine.at)).rejects.toThrow("999");
  expect((await device.download(others.at))[0]).toBe(3);
  patient.free(extra[1].buffer); // after it
  mine.up(1);
  await expect(patient.flush()).rejects.toThrow("999");
  await patient.dispose();
  expect((await device.memory()).buffers).toBe(buffers);
  others.up(1);
  expect((await device.download(others.at))[0]).toBe(4);
});

it("a program that the engine refuses is nobody else's error either", async () => {
  const count = counter(device);
  const wrong = tensor(patient, "f32", [2]); // freed: what the program keeps is not there
  patient.free(wrong.buffer);
  await patient.flush();
  patient.compile(increment, "full", { x: wrong });
  count.up(2);
  expect((await device.download(count.at))[0]).toBe(2);
});
