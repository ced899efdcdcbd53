import { sampleStandardDeviation } from 'simple-statistics';
import type { Rng } from '../core/rng.ts';
import { multinomial } from './binomial.ts';
import { clopperPearsonUpper } from './clopper-pearson.ts';
import { noiseDistance, sharesOf, totalVariation } from './distance.ts';
import { type Groups, resample, shareVariance, sumGroups } from './source-sample.ts';
import { estimateByStrata, impliedShares, type Strata, shareOfA } from './strata.ts';

/** One-sided 95 % point of the normal distribution. */
const z95 = 1.645;

export interface SimilarityInput {
  /** counts by bin, bin 0 = NULL, all over the same bins */
  readonly source: Groups;
  readonly a: Float64Array;
  readonly b: Float64Array;
  readonly strata: Strata;
  /** share of the table that is in A and not yet in T: nothing is known of it, so it lowers the bound in full */
  readonly unseen?: number;
  /** all rows of B are in `b`, not a sample of them: nothing is left to chance */
  readonly census?: boolean;
  readonly replicates?: number;
  readonly rng: Rng;
}

export interface Similarity {
  readonly similarity: number;
  readonly lower: number;
  readonly upper: number;
  readonly noise: number;
  readonly source: Float64Array;
  readonly shadow: Float64Array;
  readonly nulls: { readonly source: number; readonly shadow: number; readonly allowed: number };
}

/**
 * Similarity = 1 − total variation distance between source and stratified estimate, plug-in and uncorrected: plug-in
 * distance is biased upward, so the lower bound errs on the safe side. Subtracting what noise would give made its
 * coverage collapse; `noise` stands beside it, to be read. Only the upper bound, which opens nothing, allows for it:
 * without, the interval of a faithful shadow would never reach 1.
 *
 * Lower bound = similarity − max(1.645·sd, exact). sd by bootstrap within B (and over the source's blocks, when it was
 * sampled). `exact` is what Clopper–Pearson allows beyond the rows of B seen misplaced: where nearly all rows share a
 * bin the bootstrap sees no spread at all, and a hundred members without a defect do not exclude two per cent of them.
 */
export function similarityOf(input: SimilarityInput): Similarity {
  const { source, a, b, strata, unseen = 0, census = false, replicates = 400, rng } = input;
  const counts = sumGroups(source);
  const p = sharesOf(counts);
  const m = total(b);
  const shareB = 1 - shareOfA(strata);
  const variance = shareVariance(source);
  const estimate = estimateByStrata(a, b, strata);
  const expected = impliedShares(p, a, strata);
  const sampledB = census && m > 0 ? 0 : shareB;
  const nulls = nullShares(p, estimate, expected, variance, sampledB, m);
  const noise = 1 - noiseDistance(expected, sampledB, m, variance);

  if (m === 0 && shareB > 0) {
    // B unknown: it may overlap what is left of the source wholly, or not at all
    const overlap = p.reduce((sum, share, i) => sum + Math.min(share, estimate[i]!), 0);
    const upper = Math.min(1, overlap + shareB);
    return {
      similarity: overlap,
      lower: clamp(overlap - unseen),
      upper,
      noise,
      source: p,
      shadow: estimate,
      nulls,
    };
  }

  const distance = totalVariation(p, estimate);
  const drawn = Float64Array.from(b);
  const replicate = () => {
    if (sampledB > 0) multinomial(m, b, drawn, rng);
    const again = resample(source, counts, rng);
    // a block sample errs in the number of rows too
    const N = source.length > 1 ? (strata.N * total(again)) / total(counts) : strata.N;
    return totalVariation(sharesOf(again), estimateByStrata(a, drawn, { ...strata, N }));
  };
  const varies = sampledB > 0 || source.length > 1;
  const sd = varies ? sampleStandardDeviation(Array.from({ length: replicates }, replicate)) : 0;
  const margin = Math.max(z95 * sd, exactMargin(distance, sampledB, m));
  return {
    similarity: 1 - distance,
    lower: clamp(1 - distance - margin - unseen),
    upper: clamp(1 - distance + z95 * sd + (1 - noise) + unseen),
    noise,
    source: p,
    shadow: estimate,
    nulls,
  };
}

/** How far the distance may exceed the one seen, if the rows of B seen misplaced are a binomial count. */
function exactMargin(distance: number, shareB: number, m: number): number {
  if (shareB === 0) return 0;
  const misplaced = Math.min(m, Math.ceil((distance / shareB) * m - 1e-9));
  return Math.max(0, shareB * clopperPearsonUpper(misplaced, m) - distance);
}

/**
 * NULL shares of source and shadow, and the difference that chance allows: 4 standard deviations, more than usual,
 * because the random members are permanent: a false alarm would come back at every evaluation.
 */
function nullShares(
  p: Float64Array,
  estimate: Float64Array,
  expected: Float64Array,
  variance: Float64Array,
  shareB: number,
  m: number,
): Similarity['nulls'] {
  const q = expected[0] ?? 0;
  const own = m > 0 ? (shareB ** 2 * q * (1 - q)) / m : shareB ** 2;
  return { source: p[0] ?? 0, shadow: estimate[0] ?? 0, allowed: 4 * Math.sqrt(own + (variance[0] ?? 0)) };
}

const total = (counts: Float64Array) => counts.reduce((sum, count) => sum + count, 0);
const clamp = (value: number) => Math.min(1, Math.max(0, value));
