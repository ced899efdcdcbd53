import { type BlendWeights, rankedStrata, type Signals } from './signals.ts';

/** Sums of the raw signals over some rows, and how many rows they are. */
export interface SignalSums {
  readonly predictive: number;
  readonly frequency: number;
  readonly change: number;
  readonly rows: number;
}

/**
 * priority(row) = w_p·p̂ + w_f·f̂ + w_c·ĉ + w_r·û, the order of the copy. Each signal is scaled to sum to one over
 * the table, u to its expected sum N/2: unscaled, 0.1·u would drown predictions that sum to one.
 *
 * @param u permanent random numbers, parallel to the keys
 * @param totals sums over the whole table, when `signals` holds only a part of it
 */
export function priorities(
  signals: Signals,
  u: Float64Array,
  weights: BlendWeights,
  totals: SignalSums = sumSignals(signals),
): Float64Array {
  const priority = new Float64Array(signals.keys.length);
  const chance = totals.rows > 0 ? (2 * weights.random) / totals.rows : 0;
  for (let i = 0; i < priority.length; i++) priority[i] = chance * u[i]!;
  for (const stratum of rankedStrata) {
    if (!(totals[stratum] > 0)) continue;
    const scale = weights[stratum] / totals[stratum];
    const signal = signals[stratum];
    for (let i = 0; i < priority.length; i++) priority[i]! += scale * signal[i]!;
  }
  return priority;
}

/** Heat of a key range: the sum of the priorities of its remaining rows, with u at its mean. */
export function rangeHeat(remaining: SignalSums, totals: SignalSums, weights: BlendWeights): number {
  let heat = totals.rows > 0 ? (weights.random * remaining.rows) / totals.rows : 0;
  for (const stratum of rankedStrata) {
    if (totals[stratum] > 0) heat += (weights[stratum] * remaining[stratum]) / totals[stratum];
  }
  return heat;
}

export function sumSignals(signals: Signals): SignalSums {
  const sum = (values: Float64Array) => values.reduce((a, b) => a + b, 0);
  return {
    predictive: sum(signals.predictive),
    frequency: sum(signals.frequency),
    change: sum(signals.change),
    rows: signals.keys.length,
  };
}

/**
 * Sums per key range, for rangeHeat.
 * @param rangeOf range number of each row, parallel to the keys; −1 for rows already copied or in no range
 */
export function sumByRange(signals: Signals, rangeOf: Int32Array, ranges: number): SignalSums[] {
  const sums = Array.from({ length: ranges }, () => ({ predictive: 0, frequency: 0, change: 0, rows: 0 }));
  for (let i = 0; i < rangeOf.length; i++) {
    const sum = sums[rangeOf[i]!];
    if (!sum) continue;
    for (const stratum of rankedStrata) sum[stratum] += signals[stratum][i]!;
    sum.rows++;
  }
  return sums;
}
