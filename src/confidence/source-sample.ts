import type { Rng } from '../core/rng.ts';

/**
 * The source's counts of one distribution. A scan has one group and no error. A block sample has its blocks dealt
 * into groups, because rows of one block resemble each other: resampling groups keeps that, resampling rows would not.
 */
export type Groups = readonly Float64Array[];

export function sumGroups(groups: Groups): Float64Array {
  const sum = new Float64Array(groups[0]?.length ?? 0);
  for (const group of groups) for (let i = 0; i < sum.length; i++) sum[i]! += group[i]!;
  return sum;
}

/** Variance of each share, by random groups. Source: Wolter, Introduction to Variance Estimation (2007), chapter 2. */
export function shareVariance(groups: Groups): Float64Array {
  const total = sumGroups(groups);
  const variance = new Float64Array(total.length);
  const rows = total.reduce((a, b) => a + b, 0);
  if (groups.length < 2 || rows === 0) return variance;
  for (const group of groups) {
    const size = group.reduce((a, b) => a + b, 0);
    for (let i = 0; i < total.length; i++) variance[i]! += (group[i]! - (size * total[i]!) / rows) ** 2;
  }
  const scale = groups.length / (groups.length - 1) / rows ** 2;
  return variance.map((value) => value * scale);
}

/** One bootstrap replicate of the source's counts: the counts themselves when there is no error to replicate. */
export function resample(groups: Groups, counts: Float64Array, rng: Rng): Float64Array {
  if (groups.length < 2) return counts;
  return sumGroups(groups.map(() => groups[Math.floor(rng() * groups.length)]!));
}
