import { sharesOf } from './distance.ts';

/** Sizes of the two parts of the table: the certain set A, and B = all other rows of the source. */
export interface Strata {
  /** rows of the source */
  readonly N: number;
  /** rows of A, present or not */
  readonly nA: number;
}

export function shareOfA({ N, nA }: Strata): number {
  return N > 0 ? Math.min(1, nA / N) : 1;
}

/**
 * Distribution of the whole table as the shadow shows it: p̂ = (N_A/N)·p_A + (N_B/N)·p̂_B, A counted whole, B from its
 * random members. Unbiased, because given A the members of B are a Bernoulli sample.
 * Source: Särndal, Swensson, Wretman, Model Assisted Survey Sampling (1992), sections 3.7 and 2.8.
 *
 * A part without a counted row contributes nothing: the shares then sum to less than one.
 */
export function estimateByStrata(a: Float64Array, b: Float64Array, strata: Strata): Float64Array {
  const shareA = shareOfA(strata);
  const pA = sharesOf(a);
  const pB = sharesOf(b);
  return pA.map((share, i) => shareA * share + (1 - shareA) * pB[i]!);
}

/** What the shares of B must be if the shadow is faithful: the source's, less A's part. */
export function impliedShares(source: Float64Array, a: Float64Array, strata: Strata): Float64Array {
  const shareA = shareOfA(strata);
  const pA = sharesOf(a);
  return sharesOf(source.map((share, i) => Math.max(0, share - shareA * pA[i]!)));
}

/**
 * Size of a simple random sample of the table that would estimate a share as well: m·(N/N_B)², since only B's part
 * varies; at most N.
 */
export function effectiveSampleSize(m: number, strata: Strata): number {
  const shareB = 1 - shareOfA(strata);
  if (shareB === 0) return strata.N;
  return Math.min(strata.N, m / shareB ** 2);
}
