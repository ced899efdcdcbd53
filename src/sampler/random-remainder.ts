import type { KeyId } from '../core/key.ts';
import type { Stratum } from '../core/states.ts';

/** A restart or a small change of A must not redraw the sample: the rate moves only when it misses by more than this. */
const tolerance = 0.1;

export interface RandomRateInput {
  /** rows of the source */
  readonly N: number;
  /** rows of the certain set A */
  readonly nA: number;
  /** size that the random remainder should have, in rows */
  readonly target: number;
  /** the stored constant; absent on the first pass */
  readonly pi0?: number;
}

/** The inclusion rate π₀ of the rows outside A, and whether it has to be stored anew. */
export function randomRate({ N, nA, target, pi0 }: RandomRateInput): { pi0: number; changed: boolean } {
  const nB = Math.max(0, N - nA);
  const wanted = nB === 0 ? 1 : Math.min(1, Math.max(0, target / nB));
  if (pi0 === undefined) return { pi0: wanted, changed: true };
  const expected = pi0 * nB;
  // when even π₀ = 1 cannot reach the target, the target is all there is
  const reachable = Math.min(Math.max(0, target), nB);
  if (Math.abs(expected - reachable) <= tolerance * reachable) return { pi0, changed: false };
  return { pi0: wanted, changed: wanted !== pi0 };
}

/** A row outside A is in if and only if its permanent random number is below π₀. */
export function inRandomRemainder(u: number, pi0: number): boolean {
  return u < pi0;
}

/**
 * The largest p ≤ π₀ such that every row of B with u < p is present: where estimation may look.
 * @param absent the u of each row of B that is wanted but not yet in T
 */
export function piEff(pi0: number, absent: Iterable<number>): number {
  let p = pi0;
  for (const u of absent) if (u < p) p = u;
  return p;
}

/**
 * The members that hysteresis may favour: those of A. A random member is one because of its u, and a choice that
 * favoured it would look at u through the back door.
 */
export function incumbentsOf(
  members: Iterable<{ readonly key: KeyId; readonly stratum: Stratum }>,
): Map<KeyId, Stratum> {
  const incumbents = new Map<KeyId, Stratum>();
  for (const { key, stratum } of members) if (stratum !== 'random') incumbents.set(key, stratum);
  return incumbents;
}
