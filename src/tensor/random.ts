import { uniformFloat64 } from "pure-rand/distribution/uniformFloat64";
import { xoroshiro128plus } from "pure-rand/generator/xoroshiro128plus";

/** A seeded stream of random numbers. The same seed and labels give the same numbers on every machine. */
export interface Random {
  /** Uniform in [0, 1), 53 bits. */
  uniform(): number;
  /** Uniform 32-bit signed integer. */
  int32(): number;
  /** Standard normal (Box-Muller). */
  normal(): number;
  /** Uniform integer in [0, n). */
  below(n: number): number;
}

/**
 * Opens the stream that belongs to `seed` and `labels`, e.g. `random(seed, "shuffle", epoch)`. Streams with different
 * labels are independent, so adding one draw somewhere never shifts the numbers of another consumer.
 */
export function random(seed: number, ...labels: readonly (string | number)[]): Random {
  const generator = xoroshiro128plus(hash(`${seed}\u0000${labels.join("\u0000")}`));
  let spare: number | undefined;
  const uniform = () => uniformFloat64(generator);
  return {
    uniform,
    int32: () => generator.next(),
    below: (n) => Math.floor(uniform() * n),
    normal() {
      if (spare !== undefined) {
        const value = spare;
        spare = undefined;
        return value;
      }
      const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
      const angle = 2 * Math.PI * uniform();
      spare = radius * Math.sin(angle);
      return radius * Math.cos(angle);
    },
  };
}

/** Shuffles a copy of `items` (Fisher-Yates). */
export function shuffled<T>(items: readonly T[], rng: Random): T[] {
  const result = [...items];
  for (let i = result.length - 1; i > 0; i--) {
    const j = rng.below(i + 1);
    [result[i], result[j]] = [result[j]!, result[i]!];
  }
  return result;
}

/** 32-bit FNV-1a over UTF-16 code units, finished with murmur3's avalanche so that near labels give far seeds. */
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) | 0;
}
