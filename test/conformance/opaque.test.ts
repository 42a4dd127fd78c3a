import { expect, it } from "vitest";
import { add, define } from "../../src/graph/index.js";
import { copyRows, encodedBytes, encodedView, tensor, view } from "../../src/runtime/index.js";
import { CODECS } from "../../src/tensor/index.js";
import { opaqueDevice } from "./opaque.js";
import { engineHere } from "./run.js";
import { conformance } from "./suite.js";

const open = async () => opaqueDevice(await engineHere("cpu"));

conformance("cpu", { open: async () => (await open()).device });

it("memory that is not the host's: what is uploaded, drawn, copied and decoded is there, in order, and nothing is left", async () => {
  const { device, handles } = await open();
  const shape = [4, 32] as const;
  const bytes = Uint8Array.from({ length: encodedBytes("q8_0", shape) }, (_, i) => (i * 7) % 50);
  const values = new Float32Array(128);
  CODECS.q8_0.decode(bytes, 0, values, 0, 4);
  const encoded = encodedView(device.allocate(bytes.length), "q8_0", shape);
  const [rows, mask, sum] = [
    tensor(device, "f32", [2, 32]),
    tensor(device, "f32", shape),
    tensor(device, "f32", shape),
  ];
  device.upload(encoded, bytes);
  copyRows(device, encoded, [3, 1], rows);
  device.upload(mask, { keep: 0.5, seed: 1, labels: ["a"] });
  const program = device.compile(define("sum", (d) => ({ y: add(d("x", shape), d("mask", shape)) })));
  device.run(program, { x: encoded, mask }, { y: sum });
  device.copy(view(rows.buffer, "f32", [32]), view(sum.buffer, "f32", [32], 128));
  const drawn = (await device.download(mask)) as Float32Array;
  expect(new Set(drawn)).toEqual(new Set([0, 2]));
  expect(await device.download(rows)).toEqual(Float32Array.of(...values.subarray(96), ...values.subarray(32, 64)));
  const expected = values.map((x, i) => x + drawn[i]!);
  expected.set(values.subarray(96), 32);
  expect(await device.download(sum)).toEqual(expected);
  expect(handles()).toBe(5); // four buffers, and what the encoded one was decoded to
  for (const { buffer } of [encoded, rows, mask, sum]) device.free(buffer);
  device.release(program);
  await device.flush();
  expect(handles()).toBe(0);
  await device.dispose();
});
