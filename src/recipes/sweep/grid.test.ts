import { expect, it } from "vitest";
import { placesOf } from "./chart.js";
import { gridPoints, readGrid } from "./grid.js";

it("a grid is read as the command line has it", () => {
  const read = (...texts: string[]) => readGrid(texts, "/home/x");
  expect(read("lora.r=1, 2,4", "lora.use_rslora=true,false")).toEqual({
    "lora.r": [1, 2, 4],
    "lora.use_rslora": [true, false],
  });
  expect(read("lora.target_modules=[q_proj,v_proj],all-linear,.*\\.(q|v)_proj")).toEqual({
    "lora.target_modules": [["q_proj", "v_proj"], "all-linear", ".*\\.(q|v)_proj"],
  });
  expect(read("data.train=~/a.jsonl,b.jsonl")).toEqual({ "data.train": ["/home/x/a.jsonl", "b.jsonl"] });
  expect(() => read("lora.r")).toThrow("expected key=value,value");
  expect(() => read("lora.r=1", "lora.r=2")).toThrow("is given twice");
});

it("every combination is a point, the first key changing slowest", () => {
  const points = gridPoints({ base: "b", data: { train: "t" } }, { "lora.r": [1, 2], seed: [7, 8] });
  expect(points.map(({ config }) => [config.lora.r, config.seed])).toEqual([
    [1, 7],
    [1, 8],
    [2, 7],
    [2, 8],
  ]);
});

it("values stand on a doubling scale where they lie far apart, else evenly, and words side by side", () => {
  const at = (...values: unknown[]) => [...placesOf(values)];
  expect(at(8, 1, 2)).toEqual([
    ["1", 0],
    ["2", 1 / 3],
    ["8", 1],
  ]);
  expect(at(0, 1, 4)).toEqual([
    ["0", 0],
    ["1", 0.25],
    ["4", 1],
  ]);
  expect(at("all-linear", ["q_proj", "v_proj"])).toEqual([
    ["all-linear", 0],
    ["[q_proj,v_proj]", 1],
  ]);
  expect(at(5)).toEqual([["5", 0.5]]);
});
