import type { KeyId } from '../core/key.ts';
import type { Stratum } from '../core/states.ts';
import { lowestHash } from '../core/top.ts';
import { limitChurn } from './churn.ts';
import { type BlendWeights, type RankedStratum, rankedStrata, type Signals } from './signals.ts';
import { topK } from './top.ts';

export type CertainStratum = Exclude<Stratum, 'random'>;

export interface CertainSetInput extends Signals {
  /** budget of the whole shadow, in rows */
  readonly n: number;
  readonly weights: BlendWeights;
  /** A as it is now, rows waiting to be evicted included. Never the random members: see incumbentsOf */
  readonly incumbents: ReadonlyMap<KeyId, Stratum>;
  /** rows inserted since the last pass; they need not be among `keys` */
  readonly fresh?: readonly KeyId[];
  /** most of A's budget that fresh rows may take, so that a bulk insert does not wash the shadow out (0.25) */
  readonly freshShare?: number;
  /** an incumbent's score counts as (1 + hysteresis) times itself (0.1) */
  readonly hysteresis?: number;
  /** most rows that may leave A in one pass; no limit when absent */
  readonly churnLimit?: number;
  readonly seed: number;
}

export interface CertainSet {
  readonly certain: ReadonlyMap<KeyId, { readonly stratum: CertainStratum }>;
  /** incumbents that are no longer in A: each is judged by its u when it is processed */
  readonly leaving: readonly KeyId[];
  /** rows that the churn limit keeps waiting until a later pass */
  readonly heldBack: readonly KeyId[];
  /** what a row's score must reach to get in by each ranking; 0 = any signal, Infinity = the ranking has no budget */
  readonly cuts: Readonly<Record<RankedStratum, number>>;
  /** budget of each ranking, and what it did not use because too few rows have a signal */
  readonly budget: Readonly<Record<RankedStratum | 'new', number>>;
  readonly unused: Readonly<Record<RankedStratum, number>>;
  /** size that the random remainder should have: its own share and whatever A did not use */
  readonly randomTarget: number;
  /** sentences for the status page */
  readonly notes: readonly string[];
}

/**
 * The certain set A: shares of the budget for prediction, then frequency, then change, each from what is left; rows
 * just inserted take the place of the weakest of these. It is not given u and must not be: given A, the remainder is
 * then an exact Bernoulli sample (document 3).
 */
export function chooseCertainSet(input: CertainSetInput): CertainSet {
  const { keys, seed, incumbents, hysteresis = 0.1 } = input;
  const fresh = admitFresh(input);
  const budget = { ...rankedBudgets(input.n, input.weights, fresh.length), new: fresh.length };
  const certain = new Map<KeyId, { stratum: CertainStratum }>(fresh.map((key) => [key, { stratum: 'new' }]));

  const taken = new Uint8Array(keys.length);
  const incumbent = new Uint8Array(keys.length);
  for (let i = 0; i < keys.length; i++) {
    if (certain.has(keys[i]!)) taken[i] = 1;
    if (incumbents.has(keys[i]!)) incumbent[i] = 1;
  }

  const cuts = { predictive: 0, frequency: 0, change: 0 };
  const unused = { predictive: 0, frequency: 0, change: 0 };
  const entering: { key: KeyId; margin: number }[] = [];
  for (const stratum of rankedStrata) {
    const scores = input[stratum];
    const favoured = scores.map((score, i) => (incumbent[i] ? score * (1 + hysteresis) : score));
    const { chosen, cut } = topK(favoured, budget[stratum], keys, taken, seed);
    // what the cut would be if nobody were favoured: an incumbent below it stays by hysteresis alone
    const plain = incumbents.size > 0 ? topK(scores, budget[stratum], keys, taken, seed).cut : cut;
    cuts[stratum] = cut;
    unused[stratum] = budget[stratum] - chosen.length;
    for (const i of chosen) {
      taken[i] = 1;
      const key = keys[i]!;
      const stays = incumbent[i] === 1 && scores[i]! < plain;
      certain.set(key, { stratum: stays ? 'incumbent' : stratum });
      if (!incumbent[i])
        entering.push({ key, margin: cut > 0 ? scores[i]! / cut : Number.POSITIVE_INFINITY });
    }
  }

  const { kept, heldBack } = holdChurn(input, certain, cuts, entering);
  for (const key of heldBack) certain.delete(key);
  for (const key of kept) certain.set(key, { stratum: 'incumbent' });

  const leaving = [...incumbents.keys()].filter((key) => !certain.has(key));
  // never below its own share, even while the churn limit lets A shrink only slowly: the estimators live on it
  const ownShare = Math.round(input.n * input.weights.random);
  const randomTarget = Math.max(ownShare, Math.floor(input.n) - certain.size);
  const leftOut = new Set(input.fresh ?? []).size - fresh.length;
  return {
    certain,
    leaving,
    heldBack,
    cuts,
    budget,
    unused,
    randomTarget,
    notes: notes(unused, heldBack.length, leftOut),
  };
}

function admitFresh({ fresh = [], freshShare = 0.25, n, weights, seed }: CertainSetInput): KeyId[] {
  const distinct = [...new Set(fresh)];
  const most = Math.floor(n * (1 - weights.random) * freshShare);
  const chosen = lowestHash([...distinct.keys()], most, distinct, seed);
  return chosen.map((i) => distinct[i]!);
}

/** Rounds the running sum, so the budgets add up to the whole; fresh rows are paid for in order of the rankings. */
function rankedBudgets(n: number, weights: BlendWeights, fresh: number): Record<RankedStratum, number> {
  const budget = { predictive: 0, frequency: 0, change: 0 };
  let share = 0;
  let given = 0;
  let owed = fresh;
  for (const stratum of rankedStrata) {
    share += weights[stratum];
    const size = Math.round(n * share) - given;
    given += size;
    const paid = Math.min(owed, size);
    owed -= paid;
    budget[stratum] = size - paid;
  }
  return budget;
}

function holdChurn(
  input: CertainSetInput,
  certain: ReadonlyMap<KeyId, unknown>,
  cuts: Record<RankedStratum, number>,
  entering: readonly { key: KeyId; margin: number }[],
): { kept: KeyId[]; heldBack: KeyId[] } {
  const { keys, incumbents, churnLimit = Number.POSITIVE_INFINITY } = input;
  const out = new Map<KeyId, number>();
  for (const key of incumbents.keys()) if (!certain.has(key)) out.set(key, 0);
  if (out.size <= churnLimit) return { kept: [], heldBack: [] };
  for (let i = 0; i < keys.length; i++) {
    if (!out.has(keys[i]!)) continue;
    const ratios = rankedStrata.map((stratum) =>
      cuts[stratum] > 0 ? input[stratum][i]! / cuts[stratum] : 0,
    );
    out.set(keys[i]!, Math.max(...ratios));
  }
  const leaving = Array.from(out, ([key, margin]) => ({ key, margin }));
  return limitChurn({ entering, leaving, limit: churnLimit });
}

function notes(unused: Record<RankedStratum, number>, heldBack: number, freshLeftOut: number): string[] {
  const said: string[] = [];
  for (const stratum of rankedStrata) {
    if (unused[stratum] > 0) {
      said.push(
        `too few rows have a ${stratum} signal: ${unused[stratum]} places went to the random remainder`,
      );
    }
  }
  if (heldBack > 0) said.push(`the churn limit keeps ${heldBack} rows waiting until the next pass`);
  if (freshLeftOut > 0)
    said.push(`${freshLeftOut} of the rows just inserted did not fit and are left to chance`);
  return said;
}
