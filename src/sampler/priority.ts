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

export function sumSignals(signals: Signals): SignalSums {
  const sum = (values: Float64Array) => values.reduce((a, b) => a + b, 0);
  return {
    predictive: sum(signals.predictive),
    frequency: sum(signals.frequency),
    change: sum(signals.change),
    rows: signals.keys.length,
  };
}
