import { isEval, type Metrics, metricsRow } from "./metrics.js";

/**
 * TensorBoard event files, written by hand: a TFRecord (length, masked CRC-32C of it, payload, masked CRC-32C of it) around
 * an `Event` protocol buffer (tensorflow/core/util/event.proto: wall_time 1, step 2, file_version 3, summary 5; a summary
 * value has tag 1 and simple_value 2).
 */

/** The record every event file begins with. `wallTime` is in seconds since 1970. */
export function eventFileHeader(wallTime: number): Uint8Array {
  return record(concat([double(1, wallTime), text(3, "brain.Event:2")]));
}

/** The record of one row of metrics: `train/loss`, `train/learning_rate`, ..., or `eval/loss`. */
export function metricsEvent(metrics: Metrics, wallTime: number): Uint8Array {
  const scalars = isEval(metrics)
    ? [
        ...(metrics.evalLoss === undefined ? [] : [["eval/loss", metrics.evalLoss] as const]),
        ...Object.entries(metrics.details ?? {}).map(([key, value]) => [`eval/${key}`, value] as const),
      ]
    : Object.entries(metricsRow(metrics))
        .filter(([key]) => key !== "step" && key !== "elapsed_seconds")
        .map(([key, value]) => [`train/${key}`, value] as const);
  const values = scalars.map(([tag, value]) => bytes(1, concat([text(1, tag), float(2, value)])));
  return record(concat([double(1, wallTime), varintField(2, metrics.step), bytes(5, concat(values))]));
}

function record(payload: Uint8Array): Uint8Array {
  const head = new Uint8Array(8);
  new DataView(head.buffer).setUint32(0, payload.length, true);
  return concat([head, maskedCrc(head), payload, maskedCrc(payload)]);
}

function maskedCrc(data: Uint8Array): Uint8Array {
  const crc = crc32c(data);
  const masked = (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
  const out = new Uint8Array(4);
  new DataView(out.buffer).setUint32(0, masked, true);
  return out;
}

/** CRC-32C (Castagnoli polynomial, reflected 0x82f63b78). */
export function crc32c(data: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc >>> 0;
}

function varint(value: number): Uint8Array {
  const out: number[] = [];
  while (value >= 128) {
    out.push((value % 128) | 128);
    value = Math.floor(value / 128);
  }
  return Uint8Array.from([...out, value]);
}

function varintField(field: number, value: number): Uint8Array {
  return concat([varint(field << 3), varint(value)]);
}

function double(field: number, value: number): Uint8Array {
  const out = new Uint8Array(9);
  out[0] = (field << 3) | 1;
  new DataView(out.buffer).setFloat64(1, value, true);
  return out;
}

function float(field: number, value: number): Uint8Array {
  const out = new Uint8Array(5);
  out[0] = (field << 3) | 5;
  new DataView(out.buffer).setFloat32(1, value, true);
  return out;
}

function bytes(field: number, value: Uint8Array): Uint8Array {
  return concat([varint((field << 3) | 2), varint(value.length), value]);
}

function text(field: number, value: string): Uint8Array {
  return bytes(field, new TextEncoder().encode(value));
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    out.set(part, offset);
    offset += part.length;
  }
  return out;
}
