import { describe, expect, it } from "vitest";
import { metricsLine, readMetrics, type StepMetrics } from "./metrics.js";
import { lossChart } from "./metrics-chart.js";
import { crc32c, eventFileHeader, metricsEvent } from "./metrics-tensorboard.js";

const row: StepMetrics = {
  step: 3,
  epoch: 0.5,
  loss: 1.25,
  learningRate: 2e-4,
  gradNorm: 0.75,
  tokens: 100,
  supervisedTokens: 40,
  tokensPerSecond: 250,
  peakMemoryBytes: 1e9,
  elapsedSeconds: 4.5,
};
const hex = (bytes: Uint8Array) => Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");

describe("metrics.jsonl", () => {
  it("has exactly the documented keys", () => {
    expect(metricsLine(row)).toBe(
      '{"step":3,"epoch":0.5,"loss":1.25,"learning_rate":0.0002,"grad_norm":0.75,"tokens":100,"supervised_tokens":40,' +
        '"tokens_per_second":250,"peak_memory_bytes":1000000000,"elapsed_seconds":4.5}\n',
    );
    expect(metricsLine({ step: 3, epoch: 0.5, evalLoss: 2, elapsedSeconds: 5 })).toBe(
      '{"step":3,"epoch":0.5,"eval_loss":2,"elapsed_seconds":5}\n',
    );
  });

  it("reads back what it wrote, without a cut-off line and without rows that will be written again", () => {
    const rows = [row, { step: 3, epoch: 0.5, evalLoss: 2, elapsedSeconds: 5 }, { ...row, step: 4, loss: Number.NaN }];
    const text = rows.map(metricsLine).join("");
    expect(readMetrics(text)).toEqual(rows);
    expect(readMetrics(`${text}{"step":5,"ep`, 3)).toEqual(rows.slice(0, 2));
  });
});

describe("TensorBoard events", () => {
  it("checksums as RFC 3720 B.4 says", () => {
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new TextEncoder().encode("123456789"))).toBe(0xe3069283);
  });

  it("writes bytes that TensorBoard reads", () => {
    // Checked once against tensorboard 2.21's EventFileLoader, which yielded the tag, step and value below.
    expect(hex(eventFileHeader(1.5))).toMatchInlineSnapshot(
      `"1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c"`,
    );
    expect(hex(metricsEvent({ step: 300, epoch: 1, evalLoss: 0.5, elapsedSeconds: 1 }, 2))).toMatchInlineSnapshot(
      `"200000000000000029eda95009000000000000004010ac022a120a100a096576616c2f6c6f7373150000003f531157d6"`,
    );
  });
});

describe("lossChart", () => {
  it("draws both losses, leaves out what is not finite, and keeps a title's markup inert", () => {
    const svg = lossChart(
      [row, { ...row, step: 4, loss: Number.NaN }, { step: 4, epoch: 1, evalLoss: 2, elapsedSeconds: 9 }],
      "<b>",
    );
    expect(svg).not.toMatch(/NaN|Infinity|<b>/);
    expect(svg.match(/<polyline/g)).toHaveLength(2);
    expect(lossChart([])).not.toMatch(/NaN|Infinity|polyline/);
  });
});
