import {
  add,
  cast,
  type Declare,
  define,
  div,
  exp,
  type Fn,
  gather,
  log,
  matmul,
  mul,
  pad,
  pick,
  reduceSum,
  reshape,
  scalar,
  slice,
  softmax,
  sub,
  unpick,
  type Value,
  vjp,
} from "../graph/index.js";
import type { ModelConfig } from "./config.js";
import { DIVERGENCES, type Distance, type DivergenceName } from "./divergences.js";
import { normed, scaled } from "./graph-ops.js";
import { type HeadGradients, logitsWithSlope, logSum } from "./loss.js";

type HeadType = "f32" | "bf16";

/** How a model is compared with its teacher. */
export interface DistillSettings {
  /** Default "forward": KL(teacher || model). */
  readonly divergence?: DivergenceName;
  /** The teacher's part in the mixture of "jsd". Default 0.5. */
  readonly beta?: number;
  /** Both models' logits are divided by it. Default 1. */
  readonly temperature?: number;
  /** Only the teacher's so many likeliest tokens are told apart; the others count as one. "forward" alone. Default: all are. */
  readonly topK?: number;
}

export interface DistillHeadOptions extends DistillSettings {
  /** The teacher is another base, with a head of its own. Default: it is the model's base, and the head is the same. */
  readonly teacher?: { readonly config: ModelConfig; readonly dtype?: HeadType };
  /** Also the entropy of the model's distributions. Default false. */
  readonly entropy?: boolean;
  /** As of `lossHead`. */
  readonly weightGradients?: HeadGradients;
  readonly forwardOnly?: boolean;
  readonly dtype?: HeadType;
}

/** What of the teacher stands in the names of its head's weights. */
export const TEACHER = "teacher.";

/** Ids that both vocabularies have: padding makes one longer. */
const commonVocab = ({ vocabSize }: ModelConfig, teacher: ModelConfig): number =>
  Math.min(vocabSize, teacher.vocabSize);

/**
 * Final norm and head of `m` chosen rows of x [N, D], and how far their distributions Q are from a teacher's P, with the gradient in
 * the same pass.
 *
 * Inputs: x, rows [m], weights [m] (a row's share in the loss; 0 for filling), and of the teacher its last stream at these rows,
 * `teacher` [m, D of the teacher]; with `topK` `top_ids` [m, k], all different in a row, and `top_logps` [m, k + 1], the last of which
 * is that of all other tokens. Outputs: loss [1] = sum of weights * divergence, entropy [1] = sum of weights * entropy of Q,
 * d_rows [m, D], and with `weightGradients` d_norm.weight and d_lm_head.weight, of no single tokens.
 * With a bf16 head only its products are in bf16: of two near distributions little but rounding would be left.
 */
export function distillHead(config: ModelConfig, n: number, m: number, options: DistillHeadOptions = {}): Fn {
  const { temperature = 1, topK, dtype = "f32", teacher: other, weightGradients = {} } = options;
  return define("distill_head", (declare): Record<string, Value> => {
    const { vocabSize, hiddenSize: d, logitScale = 1 } = config;
    const factor = logitScale;
    const vocab = commonVocab(config, other?.config ?? config);
    const weights = reshape(declare("weights", [m]), [m, 1]);
    const x = gather(declare("x", [n, d]), declare("rows", [m], "i64"));
    const norm = declare("norm.weight", [d]);
    const head = firstRows(declare("lm_head.weight", [vocabSize, d], dtype), vocab);
    const h = normed(config, x, norm);
    const { logits, slope } = logitsWithSlope(config, cast(scaled(h, factor), dtype), head);
    const q = scaled(full(logits), 1 / temperature);
    const own = { config, norm, head, dtype };
    const p = topK ? undefined : scaled(teacherLogits(declare, m, other, own, vocab), 1 / temperature);
    const { value, slope: bent, probabilities } = p ? apart(p, q, options) : apartOfTop(declare, q, m, topK!);
    const found: Record<string, Value> = { loss: total(mul(value, weights)) };
    if (options.entropy) found.entropy = total(mul(entropy(q, probabilities), weights));
    if (options.forwardOnly) return found;
    const perLogit = slope ? mul(bent, full(slope)) : bent;
    const back = factor / temperature;
    const dh = scaled(mul(full(matmul(cast(perLogit, dtype), head)), weights), back);
    const grads = vjp([[h, dh]], weightGradients.norm ? [x, norm] : [x]);
    found.d_rows = grads.get(x)!;
    if (weightGradients.norm) found["d_norm.weight"] = grads.get(norm)!;
    if (!weightGradients.head) return found;
    const dHead = matmul(perLogit, scaled(mul(h, weights), back), { transA: true });
    found["d_lm_head.weight"] = vocab === vocabSize ? dHead : pad(dHead, 0, 0, vocabSize - vocab);
    return found;
  });
}

const full = (v: Value): Value => cast(v, "f32");
const total = (v: Value): Value => reshape(reduceSum(v, 0), [1]);
const firstRows = (head: Value, rows: number): Value => (head.shape[0] === rows ? head : slice(head, 0, 0, rows));

const apart = (p: Value, q: Value, { divergence = "forward", beta = 0.5 }: DistillSettings): Distance =>
  DIVERGENCES[divergence](p, q, beta);

/** The teacher's logits at the rows [m, vocab], through its own norm and head where it is another base. */
function teacherLogits(
  declare: Declare,
  m: number,
  other: DistillHeadOptions["teacher"],
  own: { config: ModelConfig; norm: Value; head: Value; dtype: HeadType },
  vocab: number,
): Value {
  const { config, norm, head, dtype } = other ? ownHead(declare, other, vocab) : own;
  const h = normed(config, declare("teacher", [m, config.hiddenSize]), norm);
  return full(logitsWithSlope(config, cast(scaled(h, config.logitScale ?? 1), dtype), head).logits);
}

function ownHead(
  declare: Declare,
  { config, dtype = "f32" }: NonNullable<DistillHeadOptions["teacher"]>,
  vocab: number,
) {
  const norm = declare(`${TEACHER}norm.weight`, [config.hiddenSize]);
  const head = declare(`${TEACHER}lm_head.weight`, [config.vocabSize, config.hiddenSize], dtype);
  return { config, norm, head: firstRows(head, vocab), dtype };
}

/** KL(P || Q) where k tokens of a row have their own probabilities and all others one together (TRL's `loss_add_tail`). */
function apartOfTop(declare: Declare, q: Value, m: number, k: number): Distance {
  const ids = declare("top_ids", [m, k], "i64");
  const given = declare("top_logps", [m, k + 1]);
  const [top, rest] = [slice(given, 1, 0, k), slice(given, 1, k, k + 1)];
  const Q = softmax(q);
  const picked = pick(Q, ids);
  // What is left of the sum over all others has no difference of near numbers in it.
  const others = add(reduceSum(sub(Q, unpick(ids, picked, Q.shape[1]!)), 1), scalar(LEAST));
  const logQ = sub(pick(q, ids), logSum(q, Q));
  const P = exp(top);
  const tail = exp(rest);
  const value = add(reduceSum(mul(P, sub(top, logQ)), 1), mul(tail, sub(rest, log(others))));
  const ratio = div(tail, others); // [m, 1]
  const slope = add(mul(Q, sub(scalar(1), ratio)), unpick(ids, sub(mul(picked, ratio), P), Q.shape[1]!));
  return { value, slope, probabilities: Q };
}

/** Keeps the logarithm of what no token is left for. */
const LEAST = 1e-30;

/** Of distributions Q of logits q [m, V], in nats: [m, 1]. */
function entropy(q: Value, Q: Value): Value {
  return sub(logSum(q, Q), reduceSum(mul(Q, q), 1));
}
