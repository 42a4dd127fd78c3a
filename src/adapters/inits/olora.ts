import { qr } from "../../tensor/index.js";
import type { AdapterInit } from "./init.js";

/**
 * scale B A is the part of W along the first r columns of its QR decomposition, times scale: B = Q[:, :r], A = R[:r] (Büyükakyüz 2024). The
 * columns of Q have the sign that makes R's diagonal positive; of a column that depends on those before it nothing is taken.
 */
export const olora: AdapterInit = {
  description: "the first columns of the weight's QR decomposition, which are taken out of it (OLoRA)",
  peft: [],
  residual: "subtracted",
  seesWeight: true,
  start({ out, in: into, r }, _rng, { weight }) {
    const column = (i: number) => Float64Array.from({ length: out }, (_, o) => weight![o * into + i]!);
    const { q } = qr(Array.from({ length: r }, (_, k) => column(k)));
    const [a, b] = [new Float32Array(r * into), new Float32Array(out * r)];
    for (let i = 0; i < into; i++) {
      const values = column(i);
      for (let k = 0; k < r; k++) {
        let sum = 0;
        for (let o = 0; o < out; o++) sum += q[k]![o]! * values[o]!;
        a[k * into + i] = i < k ? 0 : sum;
      }
    }
    for (let k = 0; k < r; k++) for (let o = 0; o < out; o++) b[o * r + k] = q[k]![o]!;
    return { a, b };
  },
};
