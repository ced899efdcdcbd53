/** Counts → shares that sum to one; all zero when there are no counts. */
export function sharesOf(counts: Float64Array): Float64Array {
  let sum = 0;
  for (const count of counts) sum += count;
  return sum > 0 ? counts.map((count) => count / sum) : new Float64Array(counts.length);
}

/** Total variation distance of two distributions over the same bins: half the sum of absolute differences, in [0, 1]. */
export function totalVariation(p: Float64Array, q: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < p.length; i++) sum += Math.abs(p[i]! - q[i]!);
  return Math.min(1, sum / 2);
}

/**
 * What total variation a faithful shadow would show by noise alone: half the sum over bins of E|X|, X normal with the
 * bin's standard deviation (E|X| = sd·√(2/π)).
 *
 * @param expected shares of B if the shadow is faithful
 * @param shareB N_B / N
 * @param m random members
 * @param sourceVariance variance of each source share, when the source was sampled too
 */
export function noiseDistance(
  expected: Float64Array,
  shareB: number,
  m: number,
  sourceVariance?: Float64Array,
): number {
  let sum = 0;
  for (let i = 0; i < expected.length; i++) {
    const q = expected[i]!;
    const own = m > 0 ? (shareB ** 2 * q * (1 - q)) / m : 0;
    sum += Math.sqrt((2 / Math.PI) * (own + (sourceVariance?.[i] ?? 0)));
  }
  return Math.min(1, sum / 2);
}
