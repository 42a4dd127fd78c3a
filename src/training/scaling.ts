/** What ranks reach each other by. */
export interface Network {
  readonly bitsPerSecond: number;
  /** Seconds until a message begins to arrive. */
  readonly latency: number;
}

/** What a step costs, as far as it is known of one rank. */
export interface StepCosts {
  /** Tokens of each row of a few steps. */
  readonly steps: readonly (readonly number[])[];
  /** Seconds of one rank with all of the model: for each token, and for a step whatever its tokens. */
  readonly secondsPerToken: number;
  readonly secondsPerStep: number;
  /** Standard deviation of what a rank takes for the same work, as a share of it. Default 0.02. */
  readonly jitter?: number;
  /** Bytes of the gradient that ranks with the same blocks add up, and seconds a byte costs them beside the network. Default 2e-9. */
  readonly gradientBytes: number;
  readonly secondsPerByte?: number;
  /** Steps for each exchange. Default 1. */
  readonly localSteps?: number;
  /** Stages of a pipeline, the largest one's share of the time, and bytes of a token on its way from one to the next. */
  readonly stages: number;
  readonly largestShare: number;
  readonly streamBytes: number;
  /** Rows of a micro-batch. */
  readonly batchSize: number;
}

/** Assumed. */
const JITTER = 0.02;
/** The most of what bench/scaling.js measured; docs/distributed.md says where. */
const SECONDS_PER_BYTE = 2e-9;

/** Seconds of a mean step, and what they are made of. */
export interface ModelledStep {
  readonly ranks: number;
  readonly seconds: number;
  /** What a rank computes when all have the same to do. */
  readonly compute: number;
  /** What the rank with most tokens takes longer: rows cannot be cut. */
  readonly ragged: number;
  /** What the slowest of the ranks takes longer for the same. */
  readonly stragglers: number;
  /** What stages wait for each other at the beginning and the end of a step, and for messages. */
  readonly pipeline: number;
  /** What adding up gradients takes. */
  readonly exchange: number;
  /** Times as fast as one rank (as one pipeline), and that as a share of the ranks. */
  readonly speedup: number;
  readonly efficiency: number;
}

/**
 * Models the mean step of so many ranks, `stages` of which make a pipeline. Rows are dealt out so that ranks have as many tokens as
 * nearly as rows allow, the longest first (Graham 1969); the slowest of D ranks is late by about sqrt(2 ln D) standard deviations (the
 * expectation of the largest of D normal numbers is no more); gradients are added up by halving and doubling, 2 (D - 1) / D of
 * their bytes in 2 log2 D messages (Thakur, Rabenseifner and Gropp 2005), and two short exchanges, of targets and of losses, are
 * in log2 D messages each; a pipeline fills and empties once a step.
 */
export function modelStep(costs: StepCosts, ranks: number, network: Network): ModelledStep {
  const own = timeOf(costs, Math.max(1, Math.floor(ranks / costs.stages)), network);
  const one = timeOf(costs, 1, network).seconds;
  const speedup = one / own.seconds;
  return { ranks, ...own, speedup, efficiency: (speedup * costs.stages) / Math.max(ranks, costs.stages) };
}

function timeOf(costs: StepCosts, replicas: number, network: Network) {
  const each = costs.steps.map((rows) => stepTime(costs, rows, replicas, network));
  const mean = (of: (one: (typeof each)[number]) => number) =>
    each.reduce((sum, one) => sum + of(one), 0) / each.length;
  const parts = {
    compute: mean(({ compute }) => compute),
    ragged: mean(({ ragged }) => ragged),
    stragglers: mean(({ stragglers }) => stragglers),
    pipeline: mean(({ pipeline }) => pipeline),
    exchange: mean(({ exchange }) => exchange),
  };
  return { seconds: Object.values(parts).reduce((a, b) => a + b, 0), ...parts };
}

function stepTime(costs: StepCosts, rows: readonly number[], replicas: number, network: Network) {
  const { secondsPerToken, secondsPerStep, jitter = JITTER, stages, largestShare, streamBytes, batchSize } = costs;
  const tokens = rows.reduce((a, b) => a + b, 0);
  const most = largestLoad(rows, replicas);
  const compute = (secondsPerToken * tokens * largestShare) / replicas + secondsPerStep;
  const busiest = secondsPerToken * most * largestShare + secondsPerStep;
  const late = jitter * Math.sqrt(2 * Math.log(replicas * stages));
  const microBatches = Math.max(1, Math.ceil(rows.length / replicas / batchSize));
  const message = messageTime((most / microBatches) * streamBytes, network);
  const turn = busiest / microBatches; // forward and backward of a micro-batch, each with a message
  const pipeline =
    (stages - 1) * (turn + 2 * message) + (stages > 1 ? microBatches * Math.max(0, 2 * message - turn) : 0);
  return {
    compute,
    ragged: busiest - compute,
    stragglers: busiest * late,
    pipeline,
    exchange: exchangeTime(costs, replicas, network),
  };
}

/** Bytes up to which Open MPI sends over TCP at once (its btl_tcp_eager_limit); for more it asks first, and waits for the answer. */
const SENT_AT_ONCE = 2 ** 16;
/** Up to so many bytes of gradients are sent whole, in one exchange; more in parts, in two (src/node/mpi/communicator.ts). */
const SENT_WHOLE = 2 ** 15;
/** Exchanges of a step that are a few bytes long: of its targets before the backward, of its losses after it. */
const SHORT_EXCHANGES = 2;

const latenciesOf = (bytes: number): number => (bytes > SENT_AT_ONCE ? 3 : 1);

const messageTime = (bytes: number, { bitsPerSecond, latency }: Network): number =>
  latenciesOf(bytes) * latency + (8 * bytes) / bitsPerSecond;

function exchangeTime(costs: StepCosts, replicas: number, network: Network): number {
  const { gradientBytes, secondsPerByte = SECONDS_PER_BYTE, localSteps = 1 } = costs;
  if (replicas === 1) return 0;
  const sent = 2 * (1 - 1 / replicas) * gradientBytes;
  const ofGradients = gradientBytes > SENT_WHOLE ? 2 * latenciesOf(gradientBytes / replicas) : 1;
  const once =
    (SHORT_EXCHANGES + ofGradients) * Math.ceil(Math.log2(replicas)) * network.latency +
    (8 * sent) / network.bitsPerSecond +
    secondsPerByte * gradientBytes;
  return once / localSteps;
}

/** Tokens of the rank that has most, where rows are dealt out longest first, each to the rank that has least. */
export function largestLoad(rows: readonly number[], ranks: number): number {
  const loads = new Float64Array(ranks);
  for (const tokens of [...rows].sort((a, b) => b - a)) {
    const least = loads.indexOf(loads.reduce((a, b) => Math.min(a, b)));
    loads[least] = loads[least]! + tokens;
  }
  return loads.reduce((a, b) => Math.max(a, b), 0);
}
