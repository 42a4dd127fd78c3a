import { expect, it } from "vitest";
import { cachedAttention, define } from "../../src/graph/index.js";
import { tensor } from "../../src/runtime/index.js";
import { f32 } from "../../src/tensor/index.js";
import { fill } from "./cases.js";
import { bindingForNative, deviceHere } from "./run.js";
import { conformance } from "./suite.js";

conformance("native");

const ENGINES = { "the C library": () => deviceHere("native"), "the JavaScript binding": bindingForNative };

it.each(Object.entries(ENGINES))(
  "cachedAttention adds new keys and values to the caches where they lie: %s",
  async (_, open) => {
    const [rows, kv, capacity, width] = [2, 2, 4, 8];
    const small = [rows, kv, 1, width];
    const large = [rows, kv, capacity, width];
    const f = define("step", (declare) => {
      const [q, k, v] = [declare("q", small), declare("k", small), declare("v", small)];
      const caches = [declare("k_cache", large), declare("v_cache", large)] as const;
      return { o: cachedAttention([q, k, v], caches, declare("last", [rows, 1]), { scale: 1 }) };
    });
    const device = await open();
    expect(device.updates(f)).toEqual(["k_cache", "v_cache"]);
    const lasts = [1, -1];
    const inputs = Object.fromEntries(
      Object.entries(f.inputs).map(([name, { shape }]) => {
        const given = name === "last" ? f32(shape, lasts) : fill(name, shape);
        const view = tensor(device, "f32", shape);
        device.upload(view, given.data.slice());
        return [name, view];
      }),
    );
    device.run(device.compile(f), inputs, { o: tensor(device, "f32", f.outputs.o!.shape) });
    for (const kind of ["k", "v"]) {
      const [expected, added] = [fill(`${kind}_cache`, large), fill(kind, small)];
      for (let group = 0; group < rows * kv; group++) {
        const at = group * capacity + lasts[Math.floor(group / kv)]! + 1;
        expected.data.set(added.data.subarray(group * width, (group + 1) * width) as never, at * width);
      }
      expect(await device.download(inputs[`${kind}_cache`]!)).toEqual(expected.data);
    }
    await device.dispose();
  },
);
