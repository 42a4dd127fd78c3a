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
  pick,
  reduceMax,
  reduceSum,
  reshape,
  scalar,
  scatterAdd,
  slice,
  softmax,
  sub,
  tanh,
  type Value,
  vjp,
} from "../graph/index.js";
import type { ModelConfig } from "./config.js";
import { normed, scaled, softcapped } from "./graph-ops.js";

/** Which weights of the head get gradients too. */
export interface HeadGradients {
  /** The final norm's. Default false. */
  readonly norm?: boolean;
  /** lm_head.weight's. Default false. */
  readonly head?: boolean;
  /** So many rows' of lm_head.weight, those of tokens that are trained. Default 0. */
  readonly tokens?: number;
}

export interface HeadOptions {
  /** Default: none. */
  readonly weightGradients?: HeadGradients;
  /** Only the loss. */
  readonly forwardOnly?: boolean;
  /** Each row by itself: its nll, and its gradient for a share of 1 in the loss; there are no `weights` then. */
  readonly perRow?: boolean;
  /** With `perRow`, also the entropy of each row's distribution. Default false. */
  readonly entropy?: boolean;
  /** What lm_head.weight, the logits and P are. In bf16 nothing of [m, V] is ever fp32. Default "f32". */
  readonly dtype?: "f32" | "bf16";
}

/**
 * Final norm, head and cross entropy over `m` chosen rows of x [N, D], with the gradient in the same pass.
 *
 * Inputs: x, rows [m] (which positions predict), labels [m], weights [m] (a row's share in the loss; 0 for filling).
 * Outputs: loss [1] = sum of weights * nll, d_rows [m, D] = gradient at those rows, and with `weightGradients` d_norm.weight,
 * d_lm_head.weight and, of k tokens, d_token_rows [k, D]; these are given as token_rows [k], and each label's place among them as
 * label_slots [m], k where it has none. With P = softmax(logits), (P - onehot) E = P E - E[labels] needs
 * no one-hot; log sum exp = max(logits) - log max(P), and max(P) is never smaller than 1/V.
 *
 * With `perRow` the output nll [m] stands for loss: whoever knows the shares only afterwards multiplies d_rows by them. With
 * `entropy` there is entropy [m] too, in nats: that of P.
 */
export function lossHead(
  config: ModelConfig,
  n: number,
  m: number,
  { weightGradients = {}, forwardOnly = false, perRow = false, entropy = false, dtype = "f32" }: HeadOptions = {},
): Fn {
  return define("loss_head", (declare): Record<string, Value> => {
    const { vocabSize: vocab, hiddenSize: d, logitScale: factor = 1 } = config;
    const labels = declare("labels", [m], "i64");
    const weights = perRow ? undefined : reshape(declare("weights", [m]), [m, 1]);
    const shared = (x: Value) => (weights ? mul(x, weights) : x);
    const x = gather(declare("x", [n, d]), declare("rows", [m], "i64"));
    const norm = declare("norm.weight", [d]);
    const h = normed(config, x, norm);
    const head = declare("lm_head.weight", [vocab, d], dtype);
    const { logits, slope } = logitsWithSlope(config, cast(scaled(h, factor), dtype), head);
    const p = softmax(logits);
    const full = (v: Value) => cast(v, "f32");
    const nll = sub(logSum(logits, p), reshape(full(pick(logits, labels)), [m, 1]));
    const spread = () => sub(logSum(logits, p), full(reduceSum(mul(p, logits), 1)));
    const loss: Record<string, Value> = perRow
      ? { nll: reshape(nll, [m]), ...(entropy ? { entropy: reshape(spread(), [m]) } : {}) }
      : { loss: reshape(reduceSum(shared(nll), 0), [1]) };
    if (forwardOnly) return loss;
    const wrong = slope ? mul(p, slope) : p;
    const own = gather(head, labels);
    const right = slope ? mul(own, reshape(pick(slope, labels), [m, 1])) : own;
    const dh = scaled(shared(sub(full(matmul(wrong, head)), full(right))), factor);
    const { norm: ofNorm = false, head: ofHead = false, tokens = 0 } = weightGradients;
    const grads = vjp([[h, dh]], ofNorm ? [x, norm] : [x]);
    const found = { ...loss, d_rows: grads.get(x)!, ...(ofNorm ? { "d_norm.weight": grads.get(norm)! } : {}) };
    if (!ofHead && tokens === 0) return found;
    const weighted = scaled(shared(h), factor);
    const labelled = slope ? mul(weighted, reshape(full(pick(slope, labels)), [m, 1])) : weighted;
    const less = (share: Value, right: Value) => sub(matmul(full(share), weighted, { transA: true }), right);
    if (ofHead) return { ...found, "d_lm_head.weight": less(wrong, scatterAdd(labels, labelled, vocab)) };
    const rows = gather(head, declare("token_rows", [tokens], "i64"));
    const at = logitsWithSlope(config, cast(scaled(h, factor), dtype), rows);
    const share = exp(sub(full(at.logits), logSum(logits, p)));
    const slots = declare("label_slots", [m], "i64");
    const rightRows = slice(scatterAdd(slots, labelled, tokens + 1), 0, 0, tokens);
    return { ...found, d_token_rows: less(at.slope ? mul(share, full(at.slope)) : share, rightRows) };
  });
}

/**
 * A model whose head gives the logits divided by a temperature; nothing else of it changes. A cap c of the logits becomes c / T: what it is
 * reached by, z / T, is divided too, so that c / T tanh((z / T) / (c / T)) is c tanh(z / c) / T.
 */
export function atTemperature(config: ModelConfig, temperature: number): ModelConfig {
  if (temperature === 1) return config;
  const { logitScale = 1, finalSoftcap: cap } = config;
  const capped = cap === undefined ? {} : { finalSoftcap: cap / temperature };
  return { ...config, logitScale: logitScale / temperature, ...capped };
}

/** log sum exp of logits [m, V] with their softmax, as fp32. */
export function logSum(logits: Value, p: Value): Value {
  return sub(cast(reduceMax(logits, 1), "f32"), log(cast(reduceMax(p, 1), "f32")));
}

/** Logits of h [m, D], scaled already, and where they are capped the derivative of the cap [m, V]. */
export function logitsWithSlope(
  config: ModelConfig,
  h: Value,
  head: Value,
): { logits: Value; slope: Value | undefined } {
  const plain = matmul(h, head, { transB: true });
  const { finalSoftcap: cap } = config;
  if (cap === undefined) return { logits: plain, slope: undefined };
  const one = (x: number) => cast(scalar(x), h.dtype);
  const bent = tanh(div(plain, one(cap)));
  return { logits: mul(bent, one(cap)), slope: sub(one(1), mul(bent, bent)) };
}

/**
 * Puts gradients of chosen rows back: d_rows [m, D] at rows [m] of an otherwise zero [N, D]. With `weighted` each is first
 * multiplied by its share in the loss, weights [m].
 */
export function scatterRows(d: number, n: number, m: number, { weighted = false } = {}): Fn {
  return define("scatter_rows", (declare) => {
    const rows = declare("d_rows", [m, d]);
    const updates = weighted ? mul(rows, reshape(declare("weights", [m]), [m, 1])) : rows;
    return { d_x: scatterAdd(declare("rows", [m], "i64"), updates, n) };
  });
}

/** Final norm and head of chosen rows: x [N, D], rows [m] -> logits [m, V]. */
export function logitsHead(config: ModelConfig, n: number, m: number): Fn {
  return define("logits_head", (declare) => {
    const x = gather(declare("x", [n, config.hiddenSize]), declare("rows", [m], "i64"));
    return { logits: logitsOf(declare, config, x) };
  });
}

/** logits of x [m, D]: the final norm, the head, and what the model does to its results. */
export function logitsOf(declare: Declare, config: ModelConfig, x: Value): Value {
  const { vocabSize, hiddenSize: d } = config;
  const h = normed(config, x, declare("norm.weight", [d]));
  return finished(config, matmul(h, declare("lm_head.weight", [vocabSize, d]), { transB: true }));
}

/** Products with the head as logits. */
export const finished = (config: ModelConfig, products: Value): Value =>
  softcapped(scaled(products, config.logitScale ?? 1), config.finalSoftcap);

/**
 * The gradient of k trained rows of the embedding: d_x [N, D] added up by `token_slots` [N], each token's place among them, k where it has none;
 * plus the head's share where the two are tied.
 */
export function tokenRowsBackward(config: ModelConfig, n: number, k: number, tied: boolean): Fn {
  return define("token_rows_backward", (declare) => {
    const dx = scaled(declare("d_x", [n, config.hiddenSize]), config.embeddingScale ?? 1);
    const rows = slice(scatterAdd(declare("token_slots", [n], "i64"), dx, k + 1), 0, 0, k);
    return { d_rows: tied ? add(rows, declare("d_token_rows", [k, config.hiddenSize])) : rows };
  });
}

/** The embedding's gradient: d_x [N, D] added up by token id, plus the head's share where the two are tied. */
export function embedBackward(config: ModelConfig, n: number, tied: boolean): Fn {
  const { vocabSize: vocab, hiddenSize: d } = config;
  return define("embed_backward", (declare) => {
    const dx = scaled(declare("d_x", [n, d]), config.embeddingScale ?? 1);
    const scattered = scatterAdd(declare("ids", [n], "i64"), dx, vocab);
    return { "d_embed_tokens.weight": tied ? add(scattered, declare("d_lm_head.weight", [vocab, d])) : scattered };
  });
}
