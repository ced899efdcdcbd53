import type { KeyId } from '../core/key.ts';
import type { Stratum } from '../core/states.ts';
import type { CertainSet } from './certain-set.ts';
import { inRandomRemainder } from './random-remainder.ts';
import { type RankedStratum, rankedStrata, type Signals } from './signals.ts';

export interface SignalTerm {
  readonly signal: RankedStratum;
  /** null when the row is not among the rows with signals */
  readonly score: number | null;
  /** 1 for the highest score of the table; equal scores share a rank */
  readonly rank: number | null;
  readonly cut: number;
  readonly reaches: boolean;
}

export interface Explanation {
  readonly key: KeyId;
  readonly in: boolean;
  readonly stratum: Stratum | null;
  /** inclusion probability: 1 in A, π₀ outside */
  readonly probability: number;
  readonly u: number;
  readonly pi0: number;
  readonly terms: readonly SignalTerm[];
  readonly because: string;
}

/** Why a row is in the shadow, or not: the data of `foreshadow explain NAME KEY`. */
export function explainKey(
  key: KeyId,
  signals: Signals,
  choice: Pick<CertainSet, 'certain' | 'cuts' | 'heldBack'>,
  chance: { readonly u: number; readonly pi0: number },
): Explanation {
  const row = signals.keys.indexOf(key);
  const terms = rankedStrata.map((signal): SignalTerm => {
    const score = row < 0 ? null : signals[signal][row]!;
    const rank =
      score === null ? null : 1 + signals[signal].reduce((n, other) => (other > score ? n + 1 : n), 0);
    const cut = choice.cuts[signal];
    return { signal, score, rank, cut, reaches: score !== null && score > 0 && score >= cut };
  });
  const certain = choice.certain.get(key);
  const drawn = inRandomRemainder(chance.u, chance.pi0);
  const stratum = certain?.stratum ?? (drawn ? 'random' : null);
  const because = certain
    ? reason(certain.stratum, terms)
    : `${whyNotCertain(key, terms, choice.heldBack)}; its permanent random number ${chance.u.toFixed(6)} is ${
        drawn ? 'below' : 'not below'
      } the rate ${chance.pi0.toFixed(6)}`;
  return {
    key,
    in: stratum !== null,
    stratum,
    probability: certain ? 1 : chance.pi0,
    ...chance,
    terms,
    because,
  };
}

function reason(stratum: Stratum, terms: readonly SignalTerm[]): string {
  const term = terms.find(({ signal }) => signal === stratum);
  if (term) return `its ${term.signal} score ${term.score} is rank ${term.rank}; the cut is ${term.cut}`;
  if (stratum === 'new') return 'it was inserted since the last pass';
  return 'it was in the certain set already, and hysteresis or the churn limit keeps it';
}

function whyNotCertain(key: KeyId, terms: readonly SignalTerm[], heldBack: readonly KeyId[]): string {
  if (heldBack.includes(key)) return 'a ranking chose it, but the churn limit makes it wait';
  if (terms.every(({ score }) => score === null || score === 0)) return 'no signal about it';
  return 'no ranking reaches it';
}
